"""Checkpoints: created before, written behind, and never in the way when the API does not take them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from octoedge.cloud.synccontroller.checkpoints import ObjectSyncs
from octoedge.errors import ApiError
from octoedge.kube.client import Client, SpeakingAs
from octoedge.protocol.delivery import Item
from octoedge.protocol.payloads import ObjectDelete, ObjectUpdate
from octoedge.protocol.resource import Resource
from octoedge.testing.clock import run
from octoedge.testing.kube import MemoryApi, MemoryClient

SYNCS = "/apis/reliablesyncs.kubeedge.io/v1alpha1/namespaces/default/objectsyncs"
CLUSTER = "/apis/reliablesyncs.kubeedge.io/v1alpha1/clusterobjectsyncs"
POD = Resource("default", "pod", "web")
NODE = Resource("null", "node", "edge-1")


def _item(version: int, *, deletes: bool = False, resource: Resource = POD) -> Item:
    body = b'{"kind":"%s","apiVersion":"v1"}' % resource.type.capitalize().encode()
    payload = ObjectDelete(resource=resource, body=body) if deletes else ObjectUpdate(resource=resource, body=body)
    return Item(payload, "u-1", version, deletes)


def _play(client: Client, test: Callable[[ObjectSyncs], Any]) -> None:
    async def main() -> None:
        syncs = ObjectSyncs(client)
        task = asyncio.create_task(syncs.run())
        await test(syncs)
        task.cancel()
        await asyncio.wait([task])

    run(main())


def test_a_checkpoint_is_as_kubeedge_writes_it() -> None:
    api = MemoryApi()
    said: list[str] = []

    async def test(syncs: ObjectSyncs) -> None:
        syncs.expect("edge-1", _item(7), lambda: said.append("durable"))
        assert said == []
        assert syncs.version("edge-1", "u-1") is None
        await asyncio.sleep(1.0)
        assert said == ["durable"]
        assert syncs.version("edge-1", "u-1") == 0
        syncs.reached("edge-1", _item(7), "")
        await asyncio.sleep(5.0)
        sync = api.objects[SYNCS, "edge-1.u-1"]
        assert sync["spec"] == {"objectAPIVersion": "v1", "objectKind": "Pod", "objectName": "web"}
        assert sync["status"] == {"objectResourceVersion": "7"}

    _play(api.client(), test)


def test_many_versions_in_a_moment_are_one_write() -> None:
    api = MemoryApi()

    async def test(syncs: ObjectSyncs) -> None:
        syncs.expect("edge-1", _item(1), lambda: None)
        await asyncio.sleep(1.0)
        api.requests.clear()
        for version in range(1, 100):
            syncs.reached("edge-1", _item(version), "")
            await asyncio.sleep(0.005)
        await asyncio.sleep(5.0)
        assert api.objects[SYNCS, "edge-1.u-1"]["status"] == {"objectResourceVersion": "99"}
        assert len(api.requests) == 1

    _play(api.client(), test)


def test_what_is_not_acknowledged_gets_its_zero() -> None:
    api = MemoryApi()

    async def test(syncs: ObjectSyncs) -> None:
        syncs.expect("edge-1", _item(1), lambda: None)
        await asyncio.sleep(30.0)
        assert api.objects[SYNCS, "edge-1.u-1"]["status"] == {"objectResourceVersion": "0"}

    _play(api.client(), test)


def test_an_acknowledged_delete_removes_it() -> None:
    api = MemoryApi()

    async def test(syncs: ObjectSyncs) -> None:
        syncs.expect("edge-1", _item(1, resource=NODE), lambda: None)
        await asyncio.sleep(1.0)
        assert (CLUSTER, "edge-1.u-1") in api.objects
        syncs.reached("edge-1", _item(2, deletes=True, resource=NODE), "")
        await asyncio.sleep(1.0)
        assert api.objects == {}
        assert syncs.known("edge-1") == {}
        assert syncs.nodes == []

    _play(api.client(), test)


def test_an_api_server_that_is_away_delays_and_loses_nothing() -> None:
    api = MemoryApi()
    said: list[str] = []

    async def test(syncs: ObjectSyncs) -> None:
        api.away = True
        syncs.expect("edge-1", _item(1), lambda: said.append("durable"))
        await asyncio.sleep(60.0)
        assert said == []
        api.away = False
        await asyncio.sleep(10.0)
        assert said == ["durable"]

    _play(api.client(), test)


class RefusingClient(MemoryClient):
    """An API server that takes no checkpoints: the namespace is going."""

    async def request(
        self,
        method: str,
        where: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "",
        speaking_as: SpeakingAs | None = None,
    ) -> bytes:
        self.api.requests.append((method, where))
        raise ApiError(403, "Forbidden", "the namespace is being terminated")


def test_an_api_server_that_takes_no_checkpoint_does_not_hold_up_delivery() -> None:
    api = MemoryApi()
    said: list[str] = []

    async def test(syncs: ObjectSyncs) -> None:
        syncs.expect("edge-1", _item(1), lambda: said.append("go on"))
        await asyncio.sleep(1.0)
        assert said == ["go on"]
        syncs.reached("edge-1", _item(5), "")
        await asyncio.sleep(60.0)
        assert syncs.version("edge-1", "u-1") == 5
        assert len(api.requests) == 1, "it is not asked again and again"
        syncs.reached("edge-1", _item(6, deletes=True), "")
        await asyncio.sleep(5.0)
        assert syncs.nodes == []

    _play(RefusingClient(api), test)


def test_without_the_kind_everything_stays_in_memory() -> None:
    api = MemoryApi()
    said: list[str] = []

    async def test(syncs: ObjectSyncs) -> None:
        syncs.durable = False
        syncs.expect("edge-1", _item(1), lambda: said.append("at once"))
        assert said == ["at once"]
        syncs.reached("edge-1", _item(4), "")
        assert syncs.version("edge-1", "u-1") == 4
        await asyncio.sleep(60.0)
        assert api.requests == []

    _play(api.client(), test)


def test_another_database_has_nothing_and_late_acknowledgements_of_the_old_one_do_not_count() -> None:
    api = MemoryApi()

    async def test(syncs: ObjectSyncs) -> None:
        syncs.opened("edge-1", "first")
        syncs.expect("edge-1", _item(3), lambda: None)
        await asyncio.sleep(1.0)
        syncs.reached("edge-1", _item(3), "first")
        assert syncs.version("edge-1", "u-1") == 3
        syncs.opened("edge-1", "second")
        syncs.reached("edge-1", _item(4), "first")
        assert syncs.version("edge-1", "u-1") == 0
        assert syncs.known("edge-1")["u-1"].version == 0
        syncs.reached("edge-1", _item(3), "second")
        assert syncs.version("edge-1", "u-1") == 3
        await asyncio.sleep(5.0)
        assert api.objects[SYNCS, "edge-1.u-1"]["metadata"]["annotations"] == {"octoedge.io/store": "second"}

    _play(api.client(), test)


def test_one_that_somebody_removed_is_made_again() -> None:
    api = MemoryApi()

    async def test(syncs: ObjectSyncs) -> None:
        syncs.expect("edge-1", _item(3), lambda: None)
        await asyncio.sleep(1.0)
        syncs.reached("edge-1", _item(3), "")
        await asyncio.sleep(3.0)
        removed = api.objects.pop((SYNCS, "edge-1.u-1"))
        syncs.seen(b'{"metadata":{"name":"edge-1.u-1","namespace":"default"}}', None)
        await asyncio.sleep(5.0)
        assert api.objects[SYNCS, "edge-1.u-1"]["status"] == removed["status"]

    _play(api.client(), test)


def test_a_checkpoint_that_cannot_be_read_is_left_alone() -> None:
    odd = b'{"metadata":{"name":"edge-1.u-9","namespace":"default"},"spec":{"objectName":7}}'

    async def test(syncs: ObjectSyncs) -> None:
        syncs.seen(None, odd)
        assert syncs.nodes == []

    _play(MemoryApi().client(), test)


def test_what_changes_all_the_time_on_many_nodes_costs_a_bounded_number_of_writes() -> None:
    api = MemoryApi()
    nodes = [f"edge-{number}" for number in range(500)]

    async def test(syncs: ObjectSyncs) -> None:
        for node in nodes:
            syncs.expect(node, _item(1), lambda: None)
        await asyncio.sleep(60.0)
        api.requests.clear()
        for version in range(2, 42):
            for node in nodes:
                syncs.reached(node, _item(version), "")
            await asyncio.sleep(0.5)
        assert len(api.requests) <= 250 * 21.0
        await asyncio.sleep(5.0)
        written = {api.objects[SYNCS, f"{node}.u-1"]["status"]["objectResourceVersion"] for node in nodes}
        assert written == {"41"}

    _play(api.client(), test)
