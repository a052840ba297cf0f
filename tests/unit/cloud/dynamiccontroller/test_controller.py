"""Applications of nodes: in whose name they are carried out, what is watched together, what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from octoedge.errors import ApiError, MessageError
from octoedge.kube.kinds import CONFIGMAPS, Kind
from octoedge.protocol import application as a
from octoedge.protocol import payloads as p
from octoedge.protocol import routes
from octoedge.testing.clock import run
from octoedge.testing.dynamiclink import NODE, DynamicLink
from octoedge.testing.kube import MemoryApi

MAPS = "/core/v1/configmaps/default/null"
ACCOUNT = "default/reader"
USER = "system:serviceaccount:default:reader"


async def ask(link: DynamicLink, key: str, verb: str, option: Any = None, **more: Any) -> Any:
    """The body of the answer, decoded."""
    asked = a.make(NODE, key, verb, option=msgspec.json.encode(option or {}), **more)
    reply = await link.request(p.ApplicationRequest(body=a.encode(asked)), 300.0)
    answer = a.decode(reply.body)
    assert answer.id == asked.id
    body = a.outcome(answer)
    return msgspec.json.decode(body) if body else None


def play(test: Callable[[DynamicLink, MemoryApi], Awaitable[None]], *trusted: str, go_edge: bool = False) -> None:
    async def main() -> None:
        api = MemoryApi()
        api.trusted |= set(trusted or ("system:node:edge-1", USER))
        link = DynamicLink(api, [ACCOUNT], go_edge=go_edge)
        ready = asyncio.Event()
        task = asyncio.create_task(link.controller.run(ready.set))
        await ready.wait()
        try:
            await test(link, api)
        finally:
            task.cancel()
            await asyncio.wait([task])

    run(main())


async def make_map(api: MemoryApi, name: str, **data: str) -> dict[str, Any]:
    obj = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": data}
    made = await api.client().create(CONFIGMAPS, "default", msgspec.json.encode(obj))
    return dict(msgspec.json.decode(made))


def test_get_list_and_writes_go_to_the_api_in_the_nodes_name() -> None:
    async def test(link: DynamicLink, api: MemoryApi) -> None:
        body = msgspec.json.encode({"metadata": {"name": "one"}, "data": {"a": "1"}})
        await ask(link, MAPS, "create", body=body)
        assert (await ask(link, "/core/v1/configmaps/default/one", "get"))["data"] == {"a": "1"}
        assert len((await ask(link, MAPS, "list"))["items"]) == 1
        patch = a.PatchInfo(name="one", patch_type="application/merge-patch+json", data=b'{"data":{"a":"2"}}')
        changed = await ask(link, "/core/v1/configmaps/default/one", "patch", msgspec.to_builtins(patch))
        assert changed["data"] == {"a": "2"}
        assert await ask(link, "/core/v1/configmaps/default/one", "delete") is None
        with pytest.raises(ApiError) as caught:
            await ask(link, "/core/v1/configmaps/default/one", "get")
        assert caught.value.code == 404

    play(test)


def test_who_may_not_is_refused_by_the_api_and_a_foreign_account_at_once() -> None:
    async def test(link: DynamicLink, api: MemoryApi) -> None:
        with pytest.raises(ApiError) as caught:
            await ask(link, MAPS, "list")
        assert caught.value.code == 403
        assert await ask(link, MAPS, "list", account=ACCOUNT)
        before = len(api.requests)
        with pytest.raises(ApiError, match="none of its pods runs as it"):
            await ask(link, MAPS, "list", account="kube-system/admin")
        with pytest.raises(ApiError, match="forbidden"):
            await ask(link, MAPS, a.FOLLOW, {"resourceVersion": "0"})
        assert len(api.requests) == before + 1
        with pytest.raises(ApiError, match="forbidden"):
            await ask(link, MAPS, a.FOLLOW, {"resourceVersion": "0"})
        assert len(api.requests) == before + 1, "the decision is remembered"

    play(test, USER)


def test_what_is_followed_is_watched_once_and_let_go_again() -> None:
    async def test(link: DynamicLink, api: MemoryApi) -> None:
        await make_map(api, "one")
        listed = await ask(link, MAPS, "list")
        after = listed["metadata"]["resourceVersion"]
        both = [
            asyncio.create_task(ask(link, MAPS, a.FOLLOW, {"resourceVersion": after}, account=account))
            for account in ("", ACCOUNT)
        ]
        await asyncio.sleep(5)
        assert len(link.controller.watches) == 1
        await make_map(api, "two")
        for batch in await asyncio.gather(*both):
            assert [event["type"] for event in batch["events"]] == ["ADDED"]
            assert int(batch["version"]) > int(after)
        quiet = await ask(link, MAPS, a.FOLLOW, {"resourceVersion": batch["version"], "timeoutSeconds": 20})
        assert quiet == {"version": batch["version"], "events": []}
        with pytest.raises(ApiError) as caught:
            await ask(link, MAPS, a.FOLLOW, {"resourceVersion": "0"})
        assert caught.value.code == 410
        await asyncio.sleep(300)
        assert not len(link.controller.watches)

    play(test)


def test_a_session_that_ends_takes_its_questions_along() -> None:
    async def test(link: DynamicLink, _: MemoryApi) -> None:
        waiting = asyncio.create_task(ask(link, MAPS, a.FOLLOW, {"resourceVersion": "0"}))
        await asyncio.sleep(1)
        link.cut()
        with pytest.raises(Exception, match="lost"):
            await waiting

    play(test)


def test_so_many_questions_of_one_node_at_once_and_no_more() -> None:
    async def test(link: DynamicLink, _: MemoryApi) -> None:
        many = [
            asyncio.create_task(ask(link, MAPS, a.FOLLOW, {"resourceVersion": "0", "timeoutSeconds": 60}))
            for _ in range(257)
        ]
        done = await asyncio.gather(*many, return_exceptions=True)
        refused = [one for one in done if isinstance(one, ApiError)]
        assert [one.code for one in refused] == [429]

    play(test)


@pytest.mark.parametrize(
    ("key", "verb"),
    [
        ("/core/v1/secrets/../x", "get"),
        ("/core/v1/configmaps/default", "list"),
        ("/metrics", "get"),
        ("/api/v1/secrets", "get"),
        ("/core/v1/configmaps/default/null", "get"),
        ("/core/v1/configmaps/default/a", "connect"),
        ("/core/v1/configmaps/..", "watch"),
    ],
)
def test_what_is_no_request_is_refused_before_the_api_sees_it(key: str, verb: str) -> None:
    async def test(link: DynamicLink, api: MemoryApi) -> None:
        with pytest.raises(ApiError) as caught:
            await ask(link, key, verb)
        assert caught.value.code == 400
        assert not api.requests

    play(test)


@given(st.text(max_size=200))
def test_no_text_makes_a_path_outside_its_collection(text: str) -> None:
    key = f"/core/v1/configmaps/default/{text}"
    try:
        path = a.parse_key(key).path
    except MessageError:
        return
    assert path.startswith("/api/v1/namespaces/default/configmaps")
    assert not {"?", "#", "%"} & set(path)
    assert "/../" not in f"{path}/"


@given(st.text(max_size=80))
@example("/version")
@example("version//")
def test_discovery_hands_through_nothing_else(text: str) -> None:
    if a.is_discovery(f"/{text}"):
        assert text.split("/")[0] in (*a.DISCOVERY, "openapi")


@given(st.binary(max_size=300))
def test_no_content_of_a_message_breaks_the_door(body: bytes) -> None:
    try:
        decoded = a.decode(body)
    except MessageError:
        return
    assert a.decode(a.encode(decoded)) == decoded


def test_the_message_is_as_a_go_edge_sends_it() -> None:
    asked = a.make(NODE, "/core/v1/pods/default/web-1", "get")
    message = routes.compose(p.ApplicationRequest(body=a.encode(asked)), message_id="m", timestamp=1)
    assert (message.route.source, message.route.group) == ("metaserver", "dynamiccontroller")
    assert (message.route.operation, message.route.resource) == ("null", "null")
    said = msgspec.json.decode(message.content)
    assert said == {
        "ID": asked.id,
        "Key": "/core/v1/pods/default/web-1",
        "Verb": "get",
        "Nodename": "edge-1",
        "Option": "e30=",
        "ReqBody": None,
        "Subresource": "",
        "RespBody": None,
        "Status": "InApplying",
        "Reason": "",
        "Error": {"ErrStatus": {"metadata": {}}},
        "Timestamp": "0001-01-01T00:00:00Z",
    }
    answer = routes.answer(message, a.encode(a.approved(asked, b"{}")), message_id="r", timestamp=2)
    assert answer.route.operation == "applicationResponse"
    assert (answer.route.source, answer.route.resource) == ("dynamiccontroller", "ignore/Application/ignore")


def told(link: DynamicLink) -> list[tuple[str, str]]:
    """What was pushed since the last call."""
    said = [(type(one).__name__, str(one.resource)) for one in link.pushed]
    link.pushed.clear()
    return said


def test_an_edge_of_kubeedge_is_told_each_change_until_it_watches_no_more() -> None:
    async def test(link: DynamicLink, api: MemoryApi) -> None:
        await make_map(api, "one")
        asked = a.make(NODE, MAPS, "watch")
        for _ in range(2):  # the second time it is there
            assert await ask(link, MAPS, "watch") is None
        await asyncio.sleep(5)
        assert told(link) == [("WatchedInsert", "default/configmap/one")]
        await make_map(api, "two")
        await api.client().delete(CONFIGMAPS, "default", "one")
        await asyncio.sleep(5)
        assert told(link) == [
            ("WatchedInsert", "default/configmap/two"),
            ("WatchedDelete", "default/configmap/one"),
        ]
        secrets = a.make(NODE, "/core/v1/secrets/../null", "watch")
        wanted = {asked.id: asked, secrets.id: secrets}
        reply = await link.request(p.WatchSync(body=msgspec.json.encode(wanted)), 10)
        failed = msgspec.json.decode(reply.body)
        assert list(failed) == [secrets.id]
        assert failed[secrets.id]["Status"] == "Rejected"
        assert (await link.request(p.WatchSync(body=b"{}"), 10)).body == b"{}"
        await make_map(api, "three")
        await asyncio.sleep(5)
        assert told(link) == []

    play(test)


def test_a_session_that_ended_is_told_nothing_and_a_new_one_everything_that_is_there() -> None:
    async def test(link: DynamicLink, api: MemoryApi) -> None:
        await make_map(api, "one")
        await make_map(api, "two")
        await ask(link, MAPS, "watch")
        await asyncio.sleep(5)
        link.pushed.clear()
        link.cut()
        await asyncio.sleep(1)
        link.mend()
        await api.client().delete(CONFIGMAPS, "default", "one")
        await ask(link, MAPS, "watch")
        await asyncio.sleep(5)
        assert told(link) == [("WatchedInsert", "default/configmap/two")]

    play(test)


def test_a_node_without_any_right_reads_the_slices_of_headless_services_and_no_others() -> None:
    async def test(link: DynamicLink, api: MemoryApi) -> None:
        for name, labels in (("web-1", {"service.kubernetes.io/headless": ""}), ("db-1", {})):
            body = {"metadata": {"name": name, "labels": labels}}
            await api.client().create(
                Kind("endpointslices", "EndpointSlice", "discovery.k8s.io"), "shop", msgspec.json.encode(body)
            )
        slices, chosen = "/discovery.k8s.io/v1/endpointslices/null/null", "service.kubernetes.io/headless"
        listed = await ask(link, slices, "list", {"labelSelector": chosen})
        assert [one["metadata"]["name"] for one in listed["items"]] == ["web-1"]
        option = {"labelSelector": chosen, "resourceVersion": listed["metadata"]["resourceVersion"]}
        assert (await ask(link, slices, a.FOLLOW, {**option, "timeoutSeconds": 5}))["events"] == []
        for verb, key, asked in (
            ("list", slices, {}),
            (a.FOLLOW, slices, {"resourceVersion": "0"}),
            ("get", slices.replace("null/null", "shop/web-1"), {"labelSelector": chosen}),
        ):
            with pytest.raises(ApiError) as caught:
                await ask(link, key, verb, asked)
            assert caught.value.code == 403

    play(test, USER)


@pytest.mark.parametrize("go_edge", [True, False])
def test_an_edge_of_kubeedge_is_told_that_the_api_is_its_metaserver(go_edge: bool) -> None:
    slices = Kind("endpointslices", "EndpointSlice", "discovery.k8s.io", "v1")
    key = "/discovery.k8s.io/v1/endpointslices/default/{}"

    def shown(obj: Any) -> Any:
        return obj["endpoints"][0]["addresses"], obj["ports"][0]["port"]

    async def test(link: DynamicLink, api: MemoryApi) -> None:
        about = {"name": "kubernetes", "namespace": "default"}
        body = {
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": about,
            "endpoints": [{"addresses": ["192.0.2.1"]}],
            "ports": [{"name": "https", "port": 6443}],
        }
        await api.client().create(slices, "default", msgspec.json.encode(body))
        expected = (["127.0.0.1"], 10550) if go_edge else (["192.0.2.1"], 6443)
        assert shown(await ask(link, key.format("kubernetes"), "get")) == expected
        assert shown((await ask(link, key.format("null"), "list"))["items"][0]) == expected
        await ask(link, key.format("null"), "watch")
        await asyncio.sleep(5)
        assert [shown(msgspec.json.decode(one.body)) for one in link.pushed] == [expected]

    play(test, go_edge=go_edge)


def test_what_a_watch_costs_the_api_in_an_hour() -> None:
    """The watch is one for all; each who follows it costs a list, and every four minutes a question of rights."""

    async def follow(link: DynamicLink, account: str) -> None:
        after = (await ask(link, MAPS, "list", account=account))["metadata"]["resourceVersion"]
        while True:
            after = (await ask(link, MAPS, a.FOLLOW, {"resourceVersion": after}, account=account))["version"]

    async def test(link: DynamicLink, api: MemoryApi) -> None:
        link.accounts |= {f"default/reader-{number}" for number in range(20)}
        api.trusted |= {f"system:serviceaccount:{one.replace('/', ':')}" for one in link.accounts}
        await make_map(api, "one")
        counts = []
        for watchers in (1, 20):
            before = len(api.requests)
            tasks = [asyncio.create_task(follow(link, f"default/reader-{number}")) for number in range(watchers)]
            await asyncio.sleep(3600)
            assert len(link.controller.watches) == 1
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            counts.append(len(api.requests) - before)
            await asyncio.sleep(300)
        assert counts == [16, 16 * 20], "one list, and fifteen times whether he may"

    play(test)
