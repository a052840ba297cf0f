"""A whole CloudCore in virtual time, over an API and connections in memory: nothing an API or an edge does is lost."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from octoedge.api.config.load import default_cloudcore, parse_cloudcore
from octoedge.cloud.cloudcore import CloudCore
from octoedge.errors import ApiError, ConnectionClosed
from octoedge.kube.kinds import CONFIGMAPS, NODES, OBJECTSYNCS, PODS, Kind
from octoedge.protocol import codec, routes
from octoedge.protocol import payloads as p
from octoedge.protocol.message import Message
from octoedge.protocol.resource import Resource
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.kube import MemoryApi
from octoedge.transport.connection import Connection, Peer
from octoedge.transport.memory import pair

Json = dict[str, Any]
ENFORCED = b"modules: {cloudHub: {authorization: {enable: true, debug: false}}}"


@dataclass
class Edge:
    """A node as it should be: stores by version, acknowledges, answers nothing else."""

    connection: Connection
    store: dict[str, Json] = field(default_factory=dict)
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    answers: dict[str, Message] = field(default_factory=dict)
    mute: bool = False
    """Stores and does not acknowledge."""
    ids: itertools.count[int] = field(default_factory=itertools.count)

    async def run(self) -> None:
        """Take what comes until the connection ends."""
        try:
            while True:
                await self._take(codec.decode(await self.connection.receive()))
        except ConnectionClosed:
            return

    async def keep_alive(self) -> None:
        """Say so every 15 seconds."""
        try:
            while True:
                await self.say(p.Keepalive())
                await asyncio.sleep(15.0)
        except ConnectionClosed:
            return

    async def say(self, payload: p.Payload) -> str:
        """Send a request; gives its id."""
        message_id = f"edge-{next(self.ids)}"
        await self.connection.send(codec.encode(routes.compose(payload, message_id=message_id, timestamp=0)))
        return message_id

    async def ask(self, payload: p.Payload, seconds: float = 1.0) -> bytes:
        """Send a request and wait in virtual time; gives the answer's body."""
        message_id = await self.say(payload)
        await asyncio.sleep(seconds)
        return self.answers.pop(message_id).data()

    async def _take(self, message: Message) -> None:
        payload = routes.classify(routes.Direction.DOWN, message)
        if isinstance(payload, p.Answer):
            self.answers[message.header.parent_msg_id] = message
            return
        name, body = str(payload.resource), payload.json()
        self.seen.append((message.route.operation, name, message.header.resourceversion))
        if isinstance(payload, p.ObjectDelete):
            if self.store.get(name, {}).get("metadata", {}).get("uid") == body["metadata"]["uid"]:
                del self.store[name]
        else:
            self.store[name] = body
        if not self.mute:
            await self.connection.send(codec.encode(routes.acknowledge(message, message_id="ack", timestamp=0)))


@dataclass
class World:
    """One API; CloudCores and edges come and go."""

    api: MemoryApi
    group: asyncio.TaskGroup

    @asynccontextmanager
    async def cloud(self, config: bytes = b"{}") -> AsyncIterator[CloudCore]:
        """A running CloudCore that is ready; killed at the end, without any chance to finish something."""
        core = CloudCore(parse_cloudcore(config, "test"), self.api.client(), VirtualClock(), listen=False)
        task = self.group.create_task(core.run(), name="cloudcore")
        await core.ready()
        try:
            yield core
        finally:
            task.cancel()
            await asyncio.wait([task])

    @asynccontextmanager
    async def edge(
        self, core: CloudCore, store: dict[str, Json] | None = None, database: str = ""
    ) -> AsyncIterator[Edge]:
        """A connected edge; one of ours when it names its database."""
        headers = {"octoedge-store": database} if database else {}
        mine, theirs = pair(Peer("edge-1", "system:node:edge-1", headers=headers))
        edge = Edge(mine, {} if store is None else store)
        tasks = [
            self.group.create_task(core.hub.serve(theirs), name="serve"),
            self.group.create_task(edge.run(), name="edge"),
            self.group.create_task(edge.keep_alive(), name="keepalive"),
        ]
        try:
            yield edge
        finally:
            await mine.close()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def make(self, kind: Kind, obj: Json, namespace: str = "") -> Json:
        """Create an object as a user does."""
        body = msgspec.json.encode(obj)
        made: Json = msgspec.json.decode(await self.api.client().create(kind, namespace, body))
        return made

    async def change(self, kind: Kind, name: str, patch: Json, namespace: str = "default", sub: str = "") -> None:
        """Patch an object as a user does."""
        await self.api.client().patch(kind, namespace, name, msgspec.json.encode(patch), sub=sub)

    async def node(self, name: str = "edge-1") -> None:
        """An edge node."""
        await self.make(NODES, {"metadata": {"name": name, "labels": {"node-role.kubernetes.io/edge": ""}}})

    async def pod(self, name: str = "web", node: str = "edge-1", config: str = "page") -> Json:
        """A pod that mounts a ConfigMap."""
        volumes = [{"name": "v", "configMap": {"name": config}}]
        spec = {"nodeName": node, "volumes": volumes}
        return await self.make(PODS, {"metadata": {"name": name}, "spec": spec}, "default")

    def checkpoints(self) -> dict[str, str]:
        """object name → the version that its checkpoint holds"""
        return {
            sync["spec"]["objectName"]: sync.get("status", {}).get("objectResourceVersion", "")
            for sync in self.api.within(f"{OBJECTSYNCS.root}/{OBJECTSYNCS.plural}")
        }


@asynccontextmanager
async def _world() -> AsyncIterator[World]:
    async with asyncio.TaskGroup() as group:
        yield World(MemoryApi(), group)


def test_a_node_gets_itself_its_pod_and_what_the_pod_needs() -> None:
    async def main() -> None:
        async with _world() as world, world.cloud() as core, world.edge(core) as edge:
            await world.node()
            await world.make(CONFIGMAPS, {"metadata": {"name": "page"}, "data": {"a": "b"}}, "default")
            await world.make(CONFIGMAPS, {"metadata": {"name": "other"}}, "default")
            await asyncio.sleep(1.0)
            await world.pod()
            await world.pod("elsewhere", node="edge-2")
            await asyncio.sleep(3.0)
            assert set(edge.store) == {"null/node/edge-1", "default/configmap/page", "default/pod/web"}
            assert [name for _, name, _ in edge.seen][-2:] == ["default/configmap/page", "default/pod/web"]
            assert edge.store["default/pod/web"]["kind"] == "Pod"

    run(main())


def test_acknowledged_versions_are_on_record_and_nothing_is_sent_twice() -> None:
    async def main() -> None:
        async with _world() as world:
            await world.node()
            pod = await world.pod()
            store: dict[str, Json] = {}
            async with world.cloud() as core, world.edge(core, store=store):
                await asyncio.sleep(10.0)
            assert world.checkpoints() == {"web": pod["metadata"]["resourceVersion"]}
            async with world.cloud() as core, world.edge(core, store=store) as edge:
                await asyncio.sleep(30.0)
                pods = [seen for seen in edge.seen if "pod" in seen[1]]
                assert pods == []

    run(main())


def test_what_happened_while_the_node_was_away_is_made_good() -> None:
    async def main() -> None:
        async with _world() as world, world.cloud() as core:
            await world.node()
            await world.pod("stays")
            await world.pod("goes")
            old = await world.pod("again")
            store: dict[str, Json] = {}
            async with world.edge(core, store=store):
                await asyncio.sleep(5.0)
            assert {"default/pod/stays", "default/pod/goes", "default/pod/again"} <= set(store)
            client = world.api.client()
            now = msgspec.json.encode({"gracePeriodSeconds": 0})
            await client.delete(PODS, "default", "goes", now)
            await client.delete(PODS, "default", "again", now)
            new = await world.pod("again")
            assert new["metadata"]["uid"] != old["metadata"]["uid"]
            await world.change(PODS, "stays", {"metadata": {"labels": {"x": "y"}}})
            async with world.edge(core, store=store):
                await asyncio.sleep(5.0)
            assert "default/pod/goes" not in store
            assert store["default/pod/again"]["metadata"]["uid"] == new["metadata"]["uid"]
            assert store["default/pod/stays"]["metadata"]["labels"] == {"x": "y"}

    run(main())


def test_a_lost_acknowledgement_and_a_killed_cloud_leave_no_orphan() -> None:
    async def main() -> None:
        async with _world() as world:
            await world.node()
            store: dict[str, Json] = {}
            async with world.cloud() as core, world.edge(core, store=store) as edge:
                edge.mute = True
                await world.pod()
                await asyncio.sleep(1.0)
            assert "default/pod/web" in store
            await world.api.client().delete(PODS, "default", "web", b'{"gracePeriodSeconds":0}')
            async with world.cloud() as core, world.edge(core, store=store):
                await asyncio.sleep(10.0)
            assert "default/pod/web" not in store
            assert world.checkpoints() == {}

    run(main())


def test_status_alone_is_not_sent_back() -> None:
    async def main() -> None:
        async with _world() as world, world.cloud() as core:
            await world.node()
            await world.pod()
            async with world.edge(core) as edge:
                await asyncio.sleep(10.0)
                edge.seen.clear()
                for number in range(5):
                    await world.change(PODS, "web", {"status": {"message": str(number)}}, sub="status")
                    await world.change(NODES, "edge-1", {"status": {"x": number}}, namespace="", sub="status")
                    await asyncio.sleep(6.0)
                assert edge.seen == []

    run(main())


def test_deletion_runs_its_course() -> None:
    async def main() -> None:
        async with _world() as world, world.cloud(ENFORCED) as core, world.edge(core) as edge:
            await world.node()
            pod = await world.pod()
            await asyncio.sleep(2.0)
            await world.api.client().delete(PODS, "default", "web")
            await asyncio.sleep(1.0)
            assert edge.store["default/pod/web"]["metadata"]["deletionTimestamp"]
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
            delete = p.PodDelete(resource=Resource("default", "pod", "web"), body=msgspec.json.encode(options))
            assert await edge.ask(delete) == b"OK"
            assert "default/pod/web" not in edge.store
            assert edge.seen[-1][:2] == ("delete", "default/pod/web")
            assert await edge.ask(delete) == b"OK", "a pod that is gone is deleted"
            await asyncio.sleep(5.0)
            assert world.checkpoints() == {}

    run(main())


def test_requests_are_answered_in_their_forms() -> None:
    async def main() -> None:
        async with _world() as world, world.cloud(ENFORCED) as core, world.edge(core) as edge:
            lease = Resource("kube-node-lease", "lease", "edge-1")
            with pytest.raises(ApiError) as caught:
                p.outcome(await edge.ask(p.ObjectQuery(resource=lease)))
            assert caught.value.code == 404
            node = {"metadata": {"name": "ignored", "labels": {"node-role.kubernetes.io/edge": ""}}}
            insert = p.NodeInsert(resource=Resource("null", "node", "edge-1"), body=msgspec.json.encode(node))
            made = msgspec.json.decode(p.outcome(await edge.ask(insert)))
            assert made["metadata"]["name"] == "edge-1"
            assert made["metadata"]["annotations"]["cloudcore"] == "127.0.0.1"
            body = msgspec.json.encode({"metadata": {"name": "edge-1", "namespace": "kube-node-lease"}, "spec": {}})
            assert b'"kind":"Lease"' in p.outcome(await edge.ask(p.LeaseInsert(resource=lease, body=body)))
            assert b"edge-1" in p.outcome(await edge.ask(p.ObjectQuery(resource=lease)))
            status = Resource("null", "nodepatch", "edge-1")
            patch = p.NodeStatusPatch(resource=status, body=b'{"status":{"phase":"x"}}')
            assert msgspec.json.decode(p.outcome(await edge.ask(patch)))["status"] == {"phase": "x"}
            secret = p.ObjectQuery(resource=Resource("default", "secret", "s"))
            with pytest.raises(ApiError, match="no pod of the node refers to it"):
                p.outcome(await edge.ask(secret))
            other = p.NodeStatusPatch(resource=Resource("null", "nodepatch", "edge-2"), body=b"{}")
            with pytest.raises(ApiError, match="may not touch node edge-2"):
                p.outcome(await edge.ask(other))

    run(main())


def test_a_query_of_what_a_pod_uses_is_answered() -> None:
    async def main() -> None:
        async with _world() as world, world.cloud(ENFORCED) as core, world.edge(core) as edge:
            await world.node()
            pod = await world.pod()
            await asyncio.sleep(1.0)
            query = p.ObjectQuery(resource=Resource("default", "configmap", "page"))
            with pytest.raises(ApiError) as caught:
                p.outcome(await edge.ask(query))
            assert caught.value.reason == "NotFound"
            await world.make(CONFIGMAPS, {"metadata": {"name": "page"}, "data": {"a": "b"}}, "default")
            assert msgspec.json.decode(p.outcome(await edge.ask(query)))["data"] == {"a": "b"}
            bound = {"kind": "Pod", "name": "web", "uid": pod["metadata"]["uid"]}
            body = msgspec.json.encode({"spec": {"boundObjectRef": bound}})
            token = p.TokenQuery(resource=Resource("default", "serviceaccounttoken", "default"), body=body)
            assert msgspec.json.decode(p.outcome(await edge.ask(token)))["status"]["token"] == "token-of-default"

    run(main())


def test_an_api_server_that_is_away_for_a_moment_is_not_noticed() -> None:
    async def main() -> None:
        async with _world() as world, world.cloud() as core, world.edge(core) as edge:
            await world.node()
            await world.pod()
            await asyncio.sleep(5.0)
            await world.api.go_away()
            status = Resource("default", "podpatch", "web")
            patch = p.PodStatusPatch(resource=status, body=b'{"status":{"phase":"Running"}}')
            message_id = await edge.say(patch)
            await asyncio.sleep(5.0)
            world.api.away = False
            await asyncio.sleep(5.0)
            assert msgspec.json.decode(p.outcome(edge.answers[message_id].data()))["status"] == {"phase": "Running"}
            await world.change(PODS, "web", {"metadata": {"labels": {"a": "b"}}})
            await asyncio.sleep(15.0)
            assert edge.store["default/pod/web"]["metadata"]["labels"] == {"a": "b"}

    run(main())


def test_an_api_server_that_stays_away_is_said_so() -> None:
    async def main() -> None:
        async with _world() as world, world.cloud() as core, world.edge(core) as edge:
            await world.node()
            await asyncio.sleep(1.0)
            await world.api.go_away()
            patch = p.NodeStatusPatch(resource=Resource("null", "nodepatch", "edge-1"), body=b"{}")
            with pytest.raises(ApiError) as caught:
                p.outcome(await edge.ask(patch, seconds=30.0))
            assert caught.value.code == 503
            world.api.away = False

    run(main())


def test_cloudcore_waits_for_an_api_server_at_its_start() -> None:
    async def main() -> None:
        async with _world() as world:
            world.api.away = True
            core = CloudCore(default_cloudcore(), world.api.client(), VirtualClock(), listen=False)
            task = world.group.create_task(core.run(), name="cloudcore")
            await asyncio.sleep(60.0)
            assert not task.done()
            world.api.away = False
            async with asyncio.timeout(30.0):
                await core.ready()
            core.stop()
            await task

    run(main())


def test_a_deleted_node_is_disconnected_and_forgotten() -> None:
    async def main() -> None:
        async with _world() as world, world.cloud() as core, world.edge(core) as edge:
            await world.node()
            await world.pod()
            await asyncio.sleep(5.0)
            assert world.checkpoints()
            await world.api.client().delete(NODES, "", "edge-1")
            await asyncio.sleep(5.0)
            assert not core.sessions.connected
            assert ("delete", "null/node/edge-1") not in [seen[:2] for seen in edge.seen]
            assert world.checkpoints() == {}

    run(main())


def test_requests_about_one_object_keep_their_order_and_too_many_are_refused() -> None:
    async def main() -> None:
        async with _world() as world, world.cloud() as core, world.edge(core) as edge:
            await world.node()
            await asyncio.sleep(1.0)
            await world.api.go_away()
            resource = Resource("null", "nodepatch", "edge-1")
            ids = [
                await edge.say(p.NodeStatusPatch(resource=resource, body=b'{"status":{"n":%d}}' % number))
                for number in range(80)
            ]
            await asyncio.sleep(1.0)
            refused = [message_id for message_id in ids if message_id in edge.answers]
            assert refused
            with pytest.raises(ApiError) as caught:
                p.outcome(edge.answers[refused[0]].data())
            assert caught.value.code == 429
            world.api.away = False
            await asyncio.sleep(10.0)
            carried_out = [
                msgspec.json.decode(p.outcome(edge.answers[message_id].data()))["status"]["n"]
                for message_id in ids
                if message_id not in refused
            ]
            assert carried_out == list(range(len(carried_out)))

    run(main())


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_a_node_ends_with_what_it_should_have(seed: int) -> None:
    """Clouds are killed, edges reconnect, acknowledgements get lost, the API goes away: then everybody is well."""

    async def main() -> None:
        rng = random.Random(seed)
        async with _world() as world:
            await world.node()
            store: dict[str, Json] = {}
            for _ in range(6):
                async with world.cloud() as core:
                    for _ in range(rng.randint(1, 3)):
                        async with world.edge(core, store=store) as edge:
                            edge.mute = rng.random() < 0.4
                            await _meddle(world, rng)
                await _meddle(world, rng)
            async with world.cloud() as core, world.edge(core, store=store):
                await asyncio.sleep(30.0)
            pods = {name.partition("pod/")[2]: obj["metadata"]["uid"] for name, obj in store.items() if "/pod/" in name}
            live = {obj["metadata"]["name"]: obj for obj in world.api.within("/api/v1/pods")}
            assert pods == {name: obj["metadata"]["uid"] for name, obj in live.items()}
            for name, obj in live.items():
                assert store[f"default/pod/{name}"]["metadata"].get("labels") == obj["metadata"].get("labels")

    run(main())


async def _meddle(world: World, rng: random.Random) -> None:
    """What users and accidents do in a while."""
    client = world.api.client()
    for _ in range(rng.randint(1, 6)):
        await asyncio.sleep(rng.choice([0.0, 0.01, 1.0, 7.0]))
        name = rng.choice(["a", "b", "c"])
        try:
            match rng.choice(["make", "change", "delete", "outage"]):
                case "make":
                    await world.pod(name)
                case "change":
                    await world.change(PODS, name, {"metadata": {"labels": {"n": str(rng.random())}}})
                case "delete":
                    await client.delete(PODS, "default", name, b'{"gracePeriodSeconds":0}')
                case "outage":
                    await world.api.go_away()
                    await asyncio.sleep(rng.choice([0.1, 3.0]))
                    world.api.away = False
        except ApiError as error:
            if error.code not in (404, 409):
                raise
    world.api.away = False


def test_an_edge_that_lost_its_database_gets_everything_again() -> None:
    async def main() -> None:
        async with _world() as world:
            await world.node()
            pod = await world.pod()
            for database, expected in (("first", 1), ("first", 0), ("second", 1), ("second", 0)):
                async with world.cloud() as core, world.edge(core, database=database) as edge:
                    await asyncio.sleep(10.0)
                    assert [name for _, name, _ in edge.seen].count("default/pod/web") == expected, database
            [sync] = world.api.within(f"{OBJECTSYNCS.root}/{OBJECTSYNCS.plural}")
            assert sync["metadata"]["annotations"] == {"octoedge.io/store": "second"}
            assert sync["status"]["objectResourceVersion"] == pod["metadata"]["resourceVersion"]

    run(main())
