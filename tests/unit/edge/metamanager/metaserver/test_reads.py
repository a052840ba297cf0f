"""Reading through MetaServer: online, offline, through an outage, and never more than the cloud allowed."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import msgspec

from octoedge.edge.metamanager.metaserver.feeds import LINGER_SECONDS
from octoedge.testing.metaserver import MAPS, Site, Watching, decoded, play

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def test_what_was_read_online_is_answered_offline_with_its_age(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.make("one", app="web")
        await site.make("two")
        assert await site.names() == ["one", "two"]
        assert decoded(await site.ask(f"{MAPS}/one"))["metadata"]["labels"] == {"app": "web"}
        site.link.cut()
        await asyncio.sleep(120)
        answer = await site.ask(MAPS)
        assert [one["metadata"]["name"] for one in decoded(answer)["items"]] == ["one", "two"]
        assert decoded(answer)["kind"] == "ConfigMapList"
        assert 119 <= int(answer.headers["Octoedge-Data-Age"]) <= 121
        assert "the cloud is away" in answer.headers["Warning"]
        assert await site.names(f"{MAPS}?labelSelector=app%3Dweb") == ["one"]
        assert await site.names(f"{MAPS}?fieldSelector=metadata.name%3Dtwo") == ["two"]
        assert decoded(await site.ask(f"{MAPS}/two"))["metadata"]["name"] == "two"
        assert (await site.ask(f"{MAPS}/three")).status == 404

    play(tmp_path, test)


def test_after_a_silent_cut_only_the_first_waits_until_the_cloud_says_something(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        async def seconds(path: str = MAPS) -> float:
            began = asyncio.get_running_loop().time()
            assert (await site.ask(path)).status == 200
            return asyncio.get_running_loop().time() - began

        await site.make("one")
        assert await seconds() < 1
        site.link.deaf = True
        assert 9 < await seconds() < 11
        assert await seconds() < 1
        assert await seconds(f"{MAPS}/one") < 1
        assert "the cloud is away" in (await site.ask(MAPS)).headers["Warning"]
        site.link.heard += 1  # a pong, though no answer: the next one asks again
        assert 9 < await seconds() < 11
        site.link.deaf = False
        site.link.heard += 1
        answer = await site.ask(MAPS)
        assert "Warning" not in answer.headers

    play(tmp_path, test)


def test_a_cloud_that_is_only_slow_is_asked_each_time(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.make("one")
        await site.names()
        site.link.deaf = True
        for _ in range(3):
            began = asyncio.get_running_loop().time()
            asyncio.get_running_loop().call_later(5, _speak, site)
            await site.ask(MAPS)
            assert asyncio.get_running_loop().time() - began > 9

    def _speak(site: Site) -> None:
        site.link.heard += 1

    play(tmp_path, test)


def test_what_was_never_read_is_not_an_empty_list(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        site.link.cut()
        answer = await site.ask("/api/v1/secrets")
        assert answer.status == 403
        assert "has not been allowed" in decoded(answer)["message"]
        assert (await site.ask("/apis")).status == 503

    play(tmp_path, test)


def test_an_object_deleted_in_the_cloud_is_gone_here_after_the_next_list(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.make("one")
        await site.make("two", app="web")
        await site.names()
        await site.remove("one")
        assert await site.names(f"{MAPS}?labelSelector=app%3Dweb") == ["two"]
        assert await site.names() == ["two"]
        site.link.cut()
        assert await site.names() == ["two"]

    play(tmp_path, test)


async def watched(site: Site, query: str = "", path: str = MAPS, **headers: str) -> Watching:
    return Watching(await site.ask(f"{path}?watch=true&allowWatchBookmarks=true&{query}", **headers))


def test_a_watch_brings_what_is_there_and_what_happens(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.make("one")
        watch = await watched(site)
        assert await watch.listen(5) == [("ADDED", "one")]
        await site.make("two")
        await site.remove("one")
        assert await watch.listen(5) == [("ADDED", "two"), ("DELETED", "one")]
        assert await site.names() == ["two"]
        lists = [request for request in site.api.requests if request == ("GET", MAPS)]
        await site.names()
        assert [one for one in site.api.requests if one == ("GET", MAPS)] == lists, "a followed list is here"
        await watch.close()

    play(tmp_path, test)


def test_selectors_of_a_watch_turn_changes_into_additions_and_deletions(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.make("one", app="web")
        everything = await watched(site)
        some = await watched(site, "labelSelector=app%3Dweb")
        await everything.listen(3)
        assert await some.listen(3) == [("ADDED", "one")]
        client = site.api.client()
        where = f"{MAPS}/one"
        await client.request("PATCH", where, body=msgspec.json.encode({"metadata": {"labels": {"app": "db"}}}))
        assert await some.listen(3) == [("DELETED", "one")]
        await client.request("PATCH", where, body=msgspec.json.encode({"metadata": {"labels": {"app": "web"}}}))
        assert (await some.listen(3))[-1][1] == "one"
        await everything.close()
        await some.close()

    play(tmp_path, test)


def test_a_client_that_lists_and_watches_never_misses_an_object_in_an_hour_without_the_cloud(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        for number in range(5):
            await site.make(f"m{number}")
        listed = decoded(await site.ask(MAPS))
        watch = await watched(site, f"resourceVersion={listed['metadata']['resourceVersion']}&timeoutSeconds=7200")
        await watch.listen(5)
        site.link.cut()
        for _ in range(60):
            assert not await watch.listen(55)
            assert len(await site.names()) == 5
            await asyncio.sleep(5)
        await site.make("late")
        await site.remove("m0")
        assert watch.bookmarks > 30
        site.link.mend()
        assert await watch.listen(60) == [("ADDED", "late"), ("DELETED", "m0")]
        assert watch.error is None
        assert len(await site.names()) == 5
        await watch.close()

    play(tmp_path, test)


def test_after_too_long_an_outage_the_watch_says_so_and_the_list_is_whole(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.make("one")
        await site.make("two")
        watch = await watched(site, "timeoutSeconds=7200")
        await watch.listen(5)
        site.link.cut()
        await asyncio.sleep(400)
        await site.remove("one")
        site.api.forgotten = site.api.version
        site.link.mend()
        assert not await watch.listen(60)
        assert watch.error is not None
        assert watch.error["code"] == 410
        assert await site.names() == ["two"]
        again = await watched(site)
        assert await again.listen(5) == [("ADDED", "two")]
        await again.close()

    play(tmp_path, test)


def test_a_restart_without_the_cloud_goes_on_with_what_is_on_disk(tmp_path: Path) -> None:
    versions: list[str] = []

    async def before(site: Site) -> None:
        await site.make("one")
        watch = await watched(site)
        await site.make("two")
        await watch.listen(5)
        versions.append(decoded(await site.ask(MAPS))["metadata"]["resourceVersion"])
        await watch.close()

    async def after(site: Site) -> None:
        site.link.cut()
        assert await site.names() == ["one", "two"]
        watch = await watched(site, f"resourceVersion={versions[0]}&timeoutSeconds=60")
        assert not await watch.listen(100)
        assert watch.error is None

    play(tmp_path, before)
    play(tmp_path, after)


def test_what_nobody_watches_any_more_is_let_go(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.make("one")
        watches = [await watched(site, f"labelSelector=app%3Dx{number % 40}") for number in range(400)]
        await asyncio.sleep(5)
        assert len(site.server.feeds) == 40
        for watch in watches:
            await watch.close()
        await asyncio.sleep(600)
        assert len(site.server.feeds) == 0
        assert len(site.link.controller.watches) == 0

    play(tmp_path, test)


def test_a_thousand_watches_come_and_go_and_leave_nothing(tmp_path: Path) -> None:
    async def crowd(site: Site) -> int:
        for _ in range(10):
            watches = [Watching(await site.ask(f"{MAPS}?watch=true&labelSelector=n%3D{n % 20}")) for n in range(100)]
            await asyncio.sleep(1)
            for watch in watches:
                await watch.close()
        await asyncio.sleep(LINGER_SECONDS * 3)
        assert len(site.server.feeds) == 0
        site.link.asked.clear()
        site.api.requests.clear()
        gc.collect()
        return len(gc.get_objects())

    async def test(site: Site) -> None:
        await site.make("one", n="1")
        first = await crowd(site)
        assert await crowd(site) - first < 200

    play(tmp_path, test)


def test_kinds_that_nobody_has_read_for_long_are_forgotten_but_not_while_the_cloud_is_away(tmp_path: Path) -> None:
    day = 86400.0

    async def test(site: Site) -> None:
        await site.make("one")
        await site.names()
        await site.api.create("/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}})
        secrets = "/api/v1/namespaces/default/secrets"
        await site.names(secrets)
        for _ in range(3):
            await asyncio.sleep(2 * day)
            assert await site.names() == ["one"]
        site.link.cut()
        await asyncio.sleep(30 * day)
        assert await site.names(secrets) == ["s"]
        site.link.mend()
        assert await site.names() == ["one"]
        await asyncio.sleep(day / 2)
        site.link.cut()
        assert await site.names(secrets) == ["s"]
        site.link.mend()
        await asyncio.sleep(2 * day)
        site.link.cut()
        assert await site.names() == ["one"]
        assert (await site.ask(secrets)).status == 403

    play(tmp_path, test)


def test_so_many_different_watches_and_no_more(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        watches = [await watched(site, f"labelSelector=app%3Dx{number}") for number in range(128)]
        refused = await site.ask(f"{MAPS}?watch=true&labelSelector=app%3Dmore")
        assert refused.status == 429
        for watch in watches:
            await watch.close()

    play(tmp_path, test)


def test_tables_for_kubectl(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.make("one")
        for _ in range(2):
            table = decoded(await site.ask(MAPS, accept=TABLE))
            assert table["kind"] == "Table"
            assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
            assert table["rows"][0]["cells"][:2] == ["one", "0"]
            assert table["rows"][0]["object"]["metadata"]["name"] == "one"
            single = decoded(await site.ask(f"{MAPS}/one", accept=TABLE))
            assert len(single["rows"]) == 1
            site.link.cut()
        assert table["metadata"]["resourceVersion"]

    play(tmp_path, test)


def test_the_cloud_decides_anew_and_its_refusal_ends_what_was_allowed(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.make("one")
        await site.names()
        site.api.trusted.clear()
        assert (await site.ask(MAPS)).status == 403
        assert (await site.ask(f"{MAPS}?watch=true")).status == 403
        site.link.cut()
        assert (await site.ask(MAPS)).status == 403

    play(tmp_path, test)
