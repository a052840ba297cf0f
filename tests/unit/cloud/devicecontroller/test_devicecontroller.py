"""Devices between the API and edges, ours and KubeEdge's, with a whole CloudCore in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from octoedge.api.config.load import parse_cloudcore
from octoedge.cloud.cloudcore import CloudCore
from octoedge.errors import ApiError, ConnectionClosed
from octoedge.kube.kinds import DEVICEMODELS, DEVICES, DEVICESTATUSES, EVENTS, NODES, Kind
from octoedge.protocol import codec, routes
from octoedge.protocol import payloads as p
from octoedge.protocol.message import Message
from octoedge.protocol.resource import Resource
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.devices import MODEL, device
from octoedge.testing.kube import MemoryApi, MemoryClient
from octoedge.transport.connection import Connection, Peer
from octoedge.transport.memory import pair

Json = dict[str, Any]
BOILER = "plant/device/boiler"


@dataclass
class Edge:
    """A node that stores, acknowledges, and remembers in which order things came."""

    node: str
    connection: Connection
    store: dict[str, Json] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    memberships: list[Json] = field(default_factory=list)
    answers: dict[str, Message] = field(default_factory=dict)

    async def run(self) -> None:
        try:
            while True:
                await self._take(codec.decode(await self.connection.receive()))
        except ConnectionClosed:
            return

    async def keep_alive(self) -> None:
        try:
            while True:
                await self.say(p.Keepalive(), "")
                await asyncio.sleep(15.0)
        except ConnectionClosed:
            return

    async def say(self, payload: p.Payload, message_id: str) -> None:
        message = routes.compose(payload, message_id=message_id, timestamp=0)
        route = msgspec.structs.replace(message.route, resource=message.route.resource.replace("device//", "device/"))
        await self.connection.send(codec.encode(msgspec.structs.replace(message, route=route)))

    async def report(self, name: str = "plant/boiler", message_id: str = "r1", **values: str) -> Message | None:
        """Twins are reported; the answer, if there is one."""
        twins = {key: {"actual": {"value": value}, "metadata": {"type": "float"}} for key, value in values.items()}
        body = msgspec.json.encode({"event_id": "e", "timestamp": 1, "twin": twins})
        namespace, _, short = name.rpartition("/")
        await self.say(p.TwinReport(resource=Resource(namespace, "device", short), body=body), message_id)
        await asyncio.sleep(1.0)
        return self.answers.pop(message_id, None)

    async def _take(self, message: Message) -> None:
        payload = routes.classify(routes.Direction.DOWN, message)
        if isinstance(payload, p.Answer):
            self.answers[message.header.parent_msg_id] = message
        elif isinstance(payload, p.DeviceMembership | p.DeviceDetail):
            self.memberships.append(payload.json())
        else:
            name = str(payload.resource)
            if "device" in name:
                assert message.route.source == "devicecontroller"
                self.told.append(f"{message.route.operation} {name}")
            if isinstance(payload, p.ObjectDelete):
                self.store.pop(name, None)
            else:
                self.store[name] = payload.json()
            await self.connection.send(codec.encode(routes.acknowledge(message, message_id="ack", timestamp=0)))


@dataclass
class World:
    """One API and a CloudCore; edges come and go."""

    api: MemoryApi
    group: asyncio.TaskGroup
    core: CloudCore

    @asynccontextmanager
    async def edge(self, node: str = "edge-1", database: str = "db-1") -> AsyncIterator[Edge]:
        headers = {"octoedge-store": database} if database else {}
        mine, theirs = pair(Peer(node, f"system:node:{node}", headers=headers))
        edge = Edge(node, mine)
        tasks = [self.group.create_task(work) for work in (self.core.hub.serve(theirs), edge.run(), edge.keep_alive())]
        await asyncio.sleep(1.0)
        try:
            yield edge
        finally:
            await mine.close()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def make(self, kind: Kind, obj: Json, namespace: str = "plant") -> Json:
        made: Json = msgspec.json.decode(await self.api.client().create(kind, namespace, msgspec.json.encode(obj)))
        await asyncio.sleep(1.0)
        return made

    async def change(self, patch: Json, name: str = "boiler", kind: Kind = DEVICES) -> None:
        await self.api.client().patch(kind, "plant", name, msgspec.json.encode(patch))
        await asyncio.sleep(1.0)

    async def delete(self, kind: Kind, name: str) -> None:
        await self.api.client().delete(kind, "plant", name, b"{}")
        await asyncio.sleep(1.0)

    def status(self, name: str = "boiler") -> Json:
        return self.api.find("/apis/devices.kubeedge.io/v1beta1/namespaces/plant/devicestatuses", name)

    def values(self, name: str = "boiler") -> dict[str, str]:
        return {t["propertyName"]: t["reported"]["value"] for t in self.status(name)["status"].get("twins", ())}


@asynccontextmanager
async def _world(config: bytes = b"{}", *names: str) -> AsyncIterator[World]:
    async with asyncio.TaskGroup() as group:
        api = MemoryApi()
        core = CloudCore(parse_cloudcore(config, "test"), api.client(), VirtualClock(), listen=False)
        task = group.create_task(core.run(), name="cloudcore")
        await core.ready()
        world = World(api, group, core)
        for node in ("edge-1", "edge-2"):
            await world.make(NODES, {"metadata": {"name": node, "labels": {"node-role.kubernetes.io/edge": ""}}}, "")
        await world.make(DEVICEMODELS, _bare(MODEL))
        for name in names:
            await world.make(DEVICES, _bare(device(name)))
        yield world
        task.cancel()


def _bare(obj: Json) -> Json:
    return {**obj, "metadata": {"name": obj["metadata"]["name"]}}


def test_a_node_gets_its_devices_after_their_model_and_no_others() -> None:
    async def main() -> None:
        async with _world(b"{}", "boiler") as world, world.edge() as edge, world.edge("edge-2", "db-2") as other:
            assert edge.told == ["insert plant/devicemodel/probe", f"insert {BOILER}"]
            await world.make(DEVICES, _bare(device("kettle")))
            assert edge.told[2:] == ["insert plant/device/kettle"]
            assert edge.memberships == []
            assert other.told == []

    run(main())


def test_a_change_of_the_spec_goes_down_and_a_report_does_not() -> None:
    async def main() -> None:
        async with _world(b"octoedge: {deviceStatusTwins: true}", "boiler") as world, world.edge() as edge:
            edge.told.clear()
            assert await edge.report(temperature="63.5")
            assert world.values() == {"temperature": "63.5"}
            collection = "/apis/devices.kubeedge.io/v1beta1/namespaces/plant/devices"
            mirrored = world.api.find(collection, "boiler")["status"]["twins"]
            assert mirrored[0]["reported"]["value"] == "63.5"
            await asyncio.sleep(20.0)
            assert edge.told == []
            await world.change({"spec": {"methods": [{"name": "set"}]}})
            assert edge.told == [f"update {BOILER}"]

    run(main())


def test_a_device_that_moves_away_and_back() -> None:
    async def main() -> None:
        async with _world(b"{}", "boiler") as world, world.edge() as edge, world.edge("edge-2", "db-2") as other:
            await world.change({"spec": {"nodeName": "edge-2"}})
            assert BOILER not in edge.store
            assert other.told == ["insert plant/devicemodel/probe", f"insert {BOILER}"]
            await world.change({"spec": {"nodeName": "edge-1"}})
            await asyncio.sleep(10.0)
            assert BOILER in edge.store
            assert BOILER not in other.store

    run(main())


def test_the_node_that_a_device_has_left_is_remembered() -> None:
    async def main() -> None:
        async with _world(b"{}", "boiler") as world:
            known = world.core.devices
            assert known is not None
            assert (known.gone("plant", "boiler"), known.former("plant", "boiler")) == (False, "")
            await world.change({"spec": {"nodeName": "edge-2"}})
            assert (known.gone("plant", "boiler"), known.former("plant", "boiler")) == (False, "edge-1")
            await world.delete(DEVICES, "boiler")
            assert (known.gone("plant", "boiler"), known.former("plant", "boiler")) == (True, "edge-2")

    run(main())


def test_what_happened_while_the_node_was_away_is_made_good() -> None:
    async def main() -> None:
        async with _world(b"{}", "boiler", "kettle", "pump") as world:
            async with world.edge() as edge:
                kept = dict(edge.store)
            await asyncio.sleep(3.0)
            await world.change({"spec": {"nodeName": "edge-2"}})
            await world.delete(DEVICES, "kettle")
            await world.change({"spec": {"methods": [{"name": "set"}]}}, "pump")
            async with world.edge() as edge:
                edge.store.update(kept)
                await asyncio.sleep(10.0)
                assert sorted(edge.told) == [
                    f"delete {BOILER}",
                    "delete plant/device/kettle",
                    "update plant/device/pump",
                ]

    run(main())


def test_an_edge_of_kubeedge_is_told_its_membership_and_may_ask_for_it() -> None:
    async def main() -> None:
        async with _world(b"{}", "boiler") as world, world.edge(database="") as edge:
            await world.make(
                DEVICES, {**device("kettle"), "metadata": {"name": "kettle", "labels": {"description": "k"}}}
            )
            added = {"id": "plant/kettle", "name": "kettle", "description": "k"}
            assert (edge.memberships[0]["added_devices"], edge.memberships[0]["removed_devices"]) == ([added], None)
            await edge.say(p.DeviceDetailQuery(), "q")
            await asyncio.sleep(1.0)
            assert [one["id"] for one in edge.memberships[1]["devices"]] == ["plant/boiler", "plant/kettle"]
            await world.delete(DEVICES, "kettle")
            assert edge.memberships[2]["removed_devices"] == [added]
            assert edge.told[-1] == "delete plant/device/kettle"

    run(main())


def test_reports_are_answered_once_they_are_in() -> None:
    async def main() -> None:
        async with _world(b"{}", "boiler") as world, world.edge() as edge:
            answer = await edge.report(temperature="1.5", setpoint="40")
            assert answer is not None
            assert (answer.route.source, answer.route.group, answer.route.resource) == (
                "devicecontroller",
                "twin",
                "twin",
            )
            assert answer.data() == b"OK"
            owner = world.status()["metadata"]["ownerReferences"][0]
            assert (owner["kind"], owner["name"], owner["controller"]) == ("Device", "boiler", True)
            assert await edge.report("boiler", temperature="2.5")  # as edges before 1.15 name devices
            assert world.values() == {"temperature": "2.5", "setpoint": "40"}

    run(main())


def test_why_a_device_cannot_be_reached_is_an_event_on_it() -> None:
    async def main() -> None:
        async with _world(b"{}", "boiler") as world, world.edge() as edge:
            for number, said in enumerate(({"state": "online"}, {"state": "offline", "reason": "no answer"}) * 2):
                body = msgspec.json.encode({"device": {"name": "boiler", **said}})
                await edge.say(
                    p.DeviceStateReport(resource=Resource("plant", "device", "boiler"), body=body), f"{number}"
                )
                await asyncio.sleep(1.0)
                assert edge.answers.pop(f"{number}").data() == b"OK"
            found = [msgspec.json.decode(raw) for raw in (await world.api.client().list(EVENTS)).items]
            uid = msgspec.json.decode(await world.api.client().get(DEVICES, "plant", "boiler"))["metadata"]["uid"]
            told = {(one["involvedObject"]["uid"], one["reason"], one["message"], one["count"]) for one in found}
            assert told == {
                (uid, "DeviceOffline", "no answer", 2),
                (uid, "DeviceOnline", "node edge-1 reaches it", 1),
            }

    run(main())


def test_many_reports_at_once_are_few_writes() -> None:
    async def main() -> None:
        async with _world(b"{}", "boiler") as world, world.edge() as edge:
            world.api.requests.clear()
            for number in range(40):
                body = msgspec.json.encode({"twin": {"temperature": {"actual": {"value": str(number)}}}})
                report = p.TwinReport(resource=Resource("plant", "device", "boiler"), body=body)
                await edge.say(report, f"n{number}")
            await asyncio.sleep(1.0)
            assert world.values() == {"temperature": "39"}
            assert len(edge.answers) == 40
            assert sum(1 for method, _ in world.api.requests if method == "PATCH") < 10

    run(main())


def test_a_node_may_not_report_the_device_of_another_and_an_unknown_one_is_said_to_be_so() -> None:
    async def main() -> None:
        async with _world(b"{}", "boiler") as world, world.edge("edge-2", "db-2") as other:
            answer = await other.report(temperature="1")
            assert answer is not None
            assert b"belongs to node edge-1" in answer.data()
            answer = await other.report("plant/nobody", temperature="1")
            assert answer is not None
            assert b"404" in answer.data()
            assert world.values() == {}

    run(main())


def test_one_bad_device_never_stops_the_rest() -> None:
    async def main() -> None:
        async with _world(b"{}", "boiler") as world, world.edge() as edge:
            bad = _bare(device("bad", properties="none"))
            await world.make(DEVICES, bad)
            await world.make(DEVICES, _bare(device("kettle")))
            assert edge.told[-1] == "insert plant/device/kettle"
            await world.change({"spec": {"properties": 7}})
            assert edge.store[BOILER]["spec"]["properties"] != 7
            await world.delete(DEVICES, "boiler")
            assert BOILER not in edge.store

    run(main())


def test_an_api_server_that_is_away_for_a_moment_is_waited_for() -> None:
    async def main() -> None:
        async with _world(b"{}", "boiler") as world, world.edge() as edge:
            await world.api.go_away()
            assert await edge.report(temperature="7") is None
            world.api.away = False
            await asyncio.sleep(5.0)
            assert world.values() == {"temperature": "7"}
            assert "r1" in edge.answers

    run(main())


def test_a_status_that_somebody_deleted_comes_back_with_the_next_report() -> None:
    async def main() -> None:
        async with _world(b"{}", "boiler") as world, world.edge() as edge:
            await edge.report(temperature="7")
            await world.delete(DEVICESTATUSES, "boiler")
            assert world.status()["status"] == {}
            await edge.report(temperature="8")
            assert world.values() == {"temperature": "8"}

    run(main())


@pytest.mark.parametrize("code", [403, 404])
def test_a_cluster_without_devices_has_its_nodes_all_the_same(code: int) -> None:
    class Strict(MemoryClient):
        """A client of an API server that has no devices yet, or does not show them."""

        hidden = True

        async def request(self, method: str, where: str, **rest: Any) -> bytes:
            if self.hidden and "devices.kubeedge.io" in where:
                raise ApiError(code, "Hidden", "nothing to see here")
            return await super().request(method, where, **rest)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            api = MemoryApi()
            client = Strict(api)
            core = CloudCore(parse_cloudcore(b"{}", "test"), client, VirtualClock(), listen=False)
            task = group.create_task(core.run(), name="cloudcore")
            await core.ready()
            world = World(api, group, core)
            labels = {"node-role.kubernetes.io/edge": ""}
            await world.make(NODES, {"metadata": {"name": "edge-1", "labels": labels}}, "")
            async with world.edge() as edge:
                client.hidden = False
                await world.make(DEVICEMODELS, _bare(MODEL))
                await world.make(DEVICES, _bare(device("boiler")))
                await asyncio.sleep(20.0)
                assert BOILER in edge.store
            task.cancel()

    run(main())
