"""What a node is told when it asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import msgspec
import pytest

from octoedge.cloud.edgecontroller.downstream import Downstream
from octoedge.cloud.edgecontroller.requests import Requests
from octoedge.errors import ApiError
from octoedge.protocol import payloads as p
from octoedge.protocol.delivery import Item
from octoedge.protocol.resource import parse
from octoedge.testing.clock import run
from octoedge.testing.kube import MemoryApi


class _Line:
    """A `Downlink` that nobody listens to."""

    connected: Collection[str] = ()

    def ours(self, _node: str) -> bool:
        return True

    def offer(self, node: str, item: Item) -> None:
        """Nothing."""

    def answer(self, node: str, message: Any) -> None:
        """Nothing."""

    def end(self, node: str, why: str) -> None:
        """Nothing."""


def asking(body: Callable[[Callable[[str], Awaitable[Any]]], Awaitable[None]]) -> None:
    """Run `body` with a question of edge-1, whose pod claims `data`, which is bound to a CSI volume."""

    async def main() -> None:
        api = MemoryApi()
        claim = {"persistentVolumeClaim": {"claimName": "data"}}
        spec = {"nodeName": "edge-1", "containers": [], "volumes": [{"name": "v", **claim}]}
        await api.create("/api/v1/namespaces/default/pods", {"metadata": {"name": "mine"}, "spec": spec})
        bound = {"metadata": {"name": "data"}, "spec": {"volumeName": "pv-1"}}
        await api.create("/api/v1/namespaces/default/persistentvolumeclaims", bound)
        source = {"driver": "d", "volumeHandle": "h", "nodeStageSecretRef": {"name": "key", "namespace": "storage"}}
        taken = {"namespace": "default", "name": "data"}
        await api.create(
            "/api/v1/persistentvolumes", {"metadata": {"name": "pv-1"}, "spec": {"csi": source, "claimRef": taken}}
        )
        for namespace, name in (("storage", "key"), ("storage", "other"), ("default", "key")):
            await api.create(f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": name}})
        driver = {"metadata": {"name": "d"}, "spec": {"attachRequired": False}}
        await api.create("/apis/storage.k8s.io/v1/csidrivers", driver)
        downstream = Downstream(api.client(), _Line())
        requests = Requests(api.client(), downstream, address="192.0.2.1")

        async def ask(path: str) -> Any:
            reply = await requests.answer("edge-1", p.ObjectQuery(resource=parse(path)))
            return msgspec.json.decode(reply.body)

        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(downstream.run(ready.set))
            await ready.wait()
            await body(ask)
            task.cancel()

    run(main())


def test_a_secret_of_a_claimed_volume_is_given_and_no_other() -> None:
    async def body(ask: Callable[[str], Awaitable[Any]]) -> None:
        assert (await ask("storage/secret/key"))["metadata"]["name"] == "key"
        for path in ("storage/secret/other", "default/secret/key"):
            with pytest.raises(ApiError, match="may not read"):
                await ask(path)

    asking(body)


def test_what_a_storage_driver_wants_is_told() -> None:
    async def body(ask: Callable[[str], Awaitable[Any]]) -> None:
        assert (await ask("null/csidriver/d"))["spec"] == {"attachRequired": False}
        with pytest.raises(ApiError, match="not found"):
            await ask("null/csidriver/e")

    asking(body)
