"""Another module of the node follows a kind's objects in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from octoedge.api.meta import view
from octoedge.edge.metamanager.metaserver.copies import Keeping
from octoedge.edge.ports import Told
from octoedge.testing.dynamiclink import NODE
from octoedge.testing.metaserver import MAPS, Site, Watching, play

LABEL = "app=dns"
HEADLESS = "service.kubernetes.io/headless"


def follow(site: Site) -> AsyncGenerator[Told, None]:
    return site.server.copies.follow("", "v1", "configmaps", labels=LABEL)


async def heard(follower: AsyncGenerator[Told, None]) -> tuple[bool, list[str], list[str]]:
    """The next that is told: whether it is all, names that are there, names that are gone."""
    async with asyncio.timeout(600):
        told = await anext(follower)
    return told.whole, [view(one).metadata.name for one in told.objects], [name for _, name in told.gone]


def test_all_then_what_happens_to_those_of_the_selection(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.make("a", app="dns")
        await site.make("other")
        async with aclosing(follow(site)) as follower:
            assert await heard(follower) == (True, ["a"], [])
            await site.make("b", app="dns")
            assert await heard(follower) == (False, ["b"], [])
            await site.remove("a")
            assert await heard(follower) == (False, [], ["a"])

    play(tmp_path, test)


def test_what_was_told_holds_through_an_outage_and_comes_from_disk_after_a_restart(tmp_path: Path) -> None:
    async def before(site: Site) -> None:
        await site.make("a", app="dns")
        async with aclosing(follow(site)) as follower:
            assert await heard(follower) == (True, ["a"], [])
            site.link.cut()
            waiting = asyncio.create_task(heard(follower))
            await asyncio.sleep(30)
            assert not waiting.done()
            site.link.mend()
            await site.make("b", app="dns")
            assert (await waiting)[1] == ["b"]

    async def after(site: Site) -> None:
        site.link.cut()
        async with aclosing(follow(site)) as follower:
            assert await heard(follower) == (True, ["a", "b"], [])

    play(tmp_path, before)
    play(tmp_path, after)


def test_who_may_not_is_told_nothing_and_asks_again_until_he_may(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.make("a", app="dns")
        known = set(site.api.trusted)
        site.api.trusted.clear()
        async with aclosing(follow(site)) as follower:
            waiting = asyncio.create_task(heard(follower))
            await asyncio.sleep(120)
            assert not waiting.done()
            site.api.trusted |= known
            async with asyncio.timeout(120):
                assert await waiting == (True, ["a"], [])

    play(tmp_path, test)


def test_by_a_field_and_without_metaserver(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.make("a")
        await site.make("b")
        keeping, ready = Keeping(NODE, site.link, site.store.database, site.clock), asyncio.Event()
        task = asyncio.create_task(keeping.run(ready.set))
        await ready.wait()
        async with aclosing(keeping.copies.follow("", "v1", "configmaps", fields="metadata.name=b")) as follower:
            assert await heard(follower) == (True, ["b"], [])
            await site.make("c")
            await site.remove("b")
            assert await heard(follower) == (False, [], ["b"])
        task.cancel()
        await asyncio.wait([task])

    play(tmp_path, test)


def test_behind_a_cloud_of_kubeedge_a_list_now_and_then_and_sooner_for_a_client(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        site.link.ours = False
        await site.make("a", app="dns")
        async with aclosing(follow(site)) as follower:
            assert await heard(follower) == (True, ["a"], [])
            asked = len(site.link.asked)
            await asyncio.sleep(3600)
            assert 10 < len(site.link.asked) - asked < 20
            await site.make("b", app="dns")
            assert await heard(follower) == (False, ["b"], [])
            watch = Watching(await site.ask(f"{MAPS}?watch=true&labelSelector=app%3Ddns"))
            assert await watch.listen(20) == [("ADDED", "a"), ("ADDED", "b")]
            await site.make("c", app="dns")
            assert await watch.listen(20) == [("ADDED", "c")]
            await watch.close()
            assert await heard(follower) == (False, ["c"], [])

    play(tmp_path, test)


def test_a_quiet_hour_costs_next_to_nothing(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        headless = site.server.copies.follow("discovery.k8s.io", "v1", "endpointslices", labels=HEADLESS)
        async with aclosing(headless) as follower:
            assert await heard(follower) == (True, [], [])
            asked = len(site.link.asked)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(7200):
                    await anext(follower)
            assert 2 < len(site.link.asked) - asked < 6

    play(tmp_path, test)


def test_services_are_asked_for_as_rarely(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        aliases = site.server.copies.follow("", "v1", "services", fields="spec.type=ExternalName")
        async with aclosing(aliases) as follower:
            assert await heard(follower) == (True, [], [])
            asked = len(site.link.asked)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(7200):
                    await anext(follower)
            assert 2 < len(site.link.asked) - asked < 6

    play(tmp_path, test)


def test_how_old_a_copy_is(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        copies = site.server.copies
        assert copies.age("", "v1", "configmaps", labels=LABEL) is None
        async with aclosing(follow(site)) as follower:
            assert await heard(follower) == (True, [], [])
            await site.make("a", app="dns")
            assert await heard(follower) == (False, ["a"], [])
            await asyncio.sleep(600)
            assert copies.age("", "v1", "configmaps", labels=LABEL) == 0, "changes come by themselves"
            site.link.cut()
            await asyncio.sleep(600)
            age = copies.age("", "v1", "configmaps", labels=LABEL)
            assert age is not None
            assert 600 <= age <= 900

    play(tmp_path, test)
