"""What service accounts may do comes to the nodes that run pods as them: a whole CloudCore in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from octoedge.api.config.load import parse_cloudcore
from octoedge.api.policy import Question, allows, read
from octoedge.cloud.cloudcore import CloudCore
from octoedge.errors import ApiError, ConnectionClosed
from octoedge.kube.kinds import NODES, PODS, SERVICEACCOUNTACCESSES, SERVICEACCOUNTS, Kind
from octoedge.protocol import codec, routes
from octoedge.protocol import payloads as p
from octoedge.protocol.message import Message
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.kube import MemoryApi, MemoryClient
from octoedge.transport.connection import Connection, Peer
from octoedge.transport.memory import pair

Json = dict[str, Any]
ROLES = Kind("clusterroles", "ClusterRole", "rbac.authorization.k8s.io", namespaced=False)
BINDINGS = Kind("rolebindings", "RoleBinding", "rbac.authorization.k8s.io")
READER = "shop/serviceaccountaccess/reader"
READS = Question("get", "", "configmaps", "shop", "a")


@dataclass
class Edge:
    """A node that stores and acknowledges what it is told of service accounts."""

    connection: Connection
    store: dict[str, bytes] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    async def run(self) -> None:
        try:
            while True:
                await self._take(codec.decode(await self.connection.receive()))
        except ConnectionClosed:
            return

    async def _take(self, message: Message) -> None:
        payload = routes.classify(routes.Direction.DOWN, message)
        if isinstance(payload, p.Answer):
            return
        if payload.resource.type == "serviceaccountaccess":
            assert (message.route.source, message.route.group) == ("policycontroller", "resource")
            self.told.append(f"{message.route.operation} {payload.resource}")
            self.store[str(payload.resource)] = payload.body
            if isinstance(payload, p.ObjectDelete):
                del self.store[str(payload.resource)]
        await self.connection.send(codec.encode(routes.acknowledge(message, message_id="ack", timestamp=0)))

    def may(self, asked: Question = READS) -> bool:
        return READER in self.store and allows(read(self.store[READER]), asked)


class Refusing(MemoryClient):
    """A client of an API that takes no ServiceAccountAccess called `banned`."""

    async def _post(self, where: str, body: bytes | None, query: Mapping[str, str]) -> Json:
        if where.endswith("/serviceaccountaccesses") and b'"banned"' in (body or b""):
            raise ApiError(403, "Forbidden", "a webhook takes no such name")
        return await super()._post(where, body, query)


@dataclass
class World:
    """One API and a CloudCore."""

    api: MemoryApi
    group: asyncio.TaskGroup
    core: CloudCore

    @asynccontextmanager
    async def edge(self, node: str = "edge-1") -> AsyncIterator[Edge]:
        mine, theirs = pair(Peer(node, f"system:node:{node}", headers={"octoedge-store": node}))
        edge = Edge(mine)
        tasks = [self.group.create_task(work) for work in (self.core.hub.serve(theirs), edge.run())]
        await asyncio.sleep(2.0)
        try:
            yield edge
        finally:
            await mine.close()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def make(self, kind: Kind, name: str, namespace: str = "shop", **fields: Any) -> None:
        obj = {"metadata": {"name": name, "labels": fields.pop("labels", {})}, **fields}
        await self.api.client().create(kind, namespace, msgspec.json.encode(obj))
        await asyncio.sleep(2.0)

    async def pod(self, name: str, node: str) -> None:
        await self.make(PODS, name, spec={"nodeName": node, "serviceAccountName": "reader"})

    async def delete(self, kind: Kind, name: str, namespace: str = "shop") -> None:
        await self.api.client().delete(kind, namespace, name, b'{"gracePeriodSeconds":0}')
        await asyncio.sleep(2.0)

    async def bind(self) -> None:
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "maps"}
        await self.make(BINDINGS, "maps", roleRef=role, subjects=[{"kind": "ServiceAccount", "name": "reader"}])

    def accesses(self) -> dict[str, Json]:
        found = self.api.within("/apis/policy.kubeedge.io/v1alpha1/serviceaccountaccesses")
        return {one["metadata"]["name"]: one for one in found}


@asynccontextmanager
async def _world(config: bytes = b"featureGates: {requireAuthorization: true}") -> AsyncIterator[World]:
    async with asyncio.TaskGroup() as group:
        api = MemoryApi()
        core = CloudCore(parse_cloudcore(config, "test"), Refusing(api), VirtualClock(), listen=False)
        task = group.create_task(core.run(), name="cloudcore")
        await core.ready()
        world = World(api, group, core)
        for node in ("edge-1", "edge-2"):
            await world.make(NODES, node, "", labels={"node-role.kubernetes.io/edge": ""})
        rules = [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"]}]
        await world.make(ROLES, "maps", "", rules=rules)
        await world.make(SERVICEACCOUNTS, "reader")
        yield world
        task.cancel()


def test_an_object_that_is_refused_does_not_hold_up_the_others() -> None:
    async def main() -> None:
        async with _world() as world:
            await world.make(SERVICEACCOUNTS, "banned")
            await world.make(PODS, "z", spec={"nodeName": "edge-1", "serviceAccountName": "banned"})
            await asyncio.sleep(600.0)
            async with world.edge() as edge:
                await world.pod("a", "edge-1")
                await world.bind()
                assert edge.may(), "at once, however often the other one was tried"
                assert list(world.accesses()) == ["reader"]

    run(main())


def test_a_node_is_told_what_the_accounts_of_its_pods_may_and_every_change_of_it() -> None:
    async def main() -> None:
        async with _world() as world, world.edge() as edge, world.edge("edge-2") as other:
            await world.pod("a", "edge-1")
            assert edge.told == [f"insert {READER}"]
            assert not edge.may()
            await world.bind()
            assert edge.told[1:] == [f"update {READER}"]
            assert edge.may()
            assert not edge.may(Question("get", "", "configmaps", "other", "a"))
            assert world.accesses()["reader"]["status"] == {"nodeList": ["edge-1"]}
            assert msgspec.json.decode(edge.store[READER])["status"] == {}
            await world.delete(BINDINGS, "maps")
            assert not edge.may()
            assert other.told == []

    run(main())


def test_other_nodes_get_it_with_the_first_pod_and_it_goes_with_the_last() -> None:
    async def main() -> None:
        async with _world() as world, world.edge() as edge, world.edge("edge-2") as other:
            await world.bind()
            await world.pod("a", "edge-1")
            await world.pod("b", "edge-2")
            assert other.may()
            assert edge.told == [f"insert {READER}"]
            await world.delete(PODS, "a")
            assert edge.told[1:] == [f"delete {READER}"]
            assert other.may()
            assert world.accesses()["reader"]["status"] == {"nodeList": ["edge-2"]}
            await world.delete(PODS, "b")
            assert world.accesses() == {}
            assert other.store == {}

    run(main())


def test_what_happened_while_a_node_was_away_comes_when_it_is_back() -> None:
    async def main() -> None:
        async with _world() as world:
            await world.pod("a", "edge-1")
            async with world.edge() as edge:
                assert not edge.may()
            await world.bind()
            async with world.edge() as edge:
                assert edge.may()
            await world.delete(SERVICEACCOUNTS, "reader")
            assert world.accesses() == {}
            async with world.edge() as edge:
                assert edge.store == {}

    run(main())


def test_without_the_gate_nothing_is_written() -> None:
    async def main() -> None:
        async with _world(b"{}") as world, world.edge() as edge:
            await world.bind()
            await world.pod("a", "edge-1")
            assert world.accesses() == {}
            assert edge.told == []

    run(main())


def test_what_somebody_else_wrote_of_an_account_without_pods_goes() -> None:
    async def main() -> None:
        async with _world() as world:
            await world.make(SERVICEACCOUNTACCESSES, "stale", spec={})
            assert world.accesses() == {}

    run(main())
