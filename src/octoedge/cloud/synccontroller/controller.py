"""SyncController: compares at connect and every few seconds, and offers what is missing (spec: channel, 8.1)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from octoedge.cloud.ports import Downlink, Intent
from octoedge.cloud.synccontroller.checkpoints import ObjectSyncs
from octoedge.cloud.synccontroller.compare import Surplus, compare
from octoedge.errors import ApiError
from octoedge.kube.client import Client, path
from octoedge.kube.informer import Informer
from octoedge.kube.kinds import CLUSTEROBJECTSYNCS, OBJECTSYNCS
from octoedge.protocol.delivery import Item
from octoedge.protocol.payloads import ObjectDelete
from octoedge.runtime.keyed import KeyedQueue

log = logging.getLogger(__name__)

_EVERY_SECONDS = 5.0
_WORKERS = 8


class SyncController:
    """Module: repairs what events did not bring about."""

    name = "syncController"
    restart = True

    def __init__(
        self,
        client: Client,
        intent: Intent,
        downlink: Downlink,
        checkpoints: ObjectSyncs,
        needs: tuple[str, ...] = ("edgeController",),
    ) -> None:
        self.needs = needs
        self._client = client
        self._intent = intent
        self._downlink = downlink
        self._checkpoints = checkpoints
        self._informers = [
            Informer(client, OBJECTSYNCS, checkpoints.seen),
            Informer(client, CLUSTEROBJECTSYNCS, checkpoints.seen),
        ]
        self._queue: KeyedQueue[str] = KeyedQueue(self._compare, workers=_WORKERS, name="comparison of")

    def connected(self, node: str) -> None:
        """A session began: compare at once."""
        self._compare_now(node)

    def node_deleted(self, node: str) -> None:
        """A Node object is gone: its checkpoints go too."""
        self._checkpoints.forget_node(node)

    async def run(self, ready: Callable[[], None]) -> None:
        """Load the checkpoints, then compare until cancelled."""
        await self._find_out_whether_durable()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._checkpoints.run(), name="checkpoints")
            group.create_task(self._queue.run(), name="comparisons")
            if self._checkpoints.durable:
                for informer in self._informers:
                    group.create_task(informer.run(), name=f"informer {informer.kind.plural}")
                    await informer.wait_synced()
            self._forget_nodes_that_are_gone()
            ready()
            await self._every_few_seconds()

    async def _every_few_seconds(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            for node in list(self._downlink.connected):
                self._queue.add(node)

    async def _find_out_whether_durable(self) -> None:
        try:
            await self._client.request("GET", path(OBJECTSYNCS), query={"limit": "1"})
        except ApiError as error:
            if error.code != 404:
                raise
            self._checkpoints.durable = False
            log.warning(
                "the API server knows no ObjectSyncs (reliablesyncs.kubeedge.io): what edges have is kept in memory "
                "only; install KubeEdge's CRDs, `keadm init` does it"
            )

    def _forget_nodes_that_are_gone(self) -> None:
        for node in self._checkpoints.nodes:
            if not self._intent.exists(node):
                log.info("removing the checkpoints of node %s, which no longer exists", node)
                self._checkpoints.forget_node(node)

    async def _compare(self, node: str) -> None:
        self._compare_now(node)

    def _compare_now(self, node: str) -> None:
        intent = self._intent
        for repair in compare(self._checkpoints.known(node), intent.wanted(node), intent.tracks, intent.live, node):
            item = _removal(repair) if isinstance(repair, Surplus) else intent.item(repair.wanted, first=repair.first)
            if item is not None:
                self._downlink.offer(node, item)


def _removal(surplus: Surplus) -> Item:
    """A delete that names the uid; the object itself goes along where it still exists."""
    known, now = surplus.known, surplus.now
    if now is not None:
        return Item(ObjectDelete(resource=known.resource, body=now.raw), known.uid, now.version, deletes=True)
    metadata = {"name": known.resource.name, "uid": known.uid}
    if not known.resource.cluster_scoped:
        metadata["namespace"] = known.resource.namespace
    body = msgspec.json.encode({"metadata": metadata})
    return Item(ObjectDelete(resource=known.resource, body=body), known.uid, known.version, deletes=True)
