"""The scenes of devices, played through our edge: what Go's cloud sent goes in, what Go's edge sent comes out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from octoedge.edge.eventbus.table import Table
from octoedge.protocol import payloads as p
from octoedge.protocol.codec import decode, encode
from octoedge.protocol.message import Message
from octoedge.protocol.routes import Direction, classify, compose
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.devices import DeviceWorld
from octoedge.testing.inline import InlineDatabase

DATA = Path(__file__).parent / "data" / "hub.jsonl"
TOPIC = "$hw/events/device/default/counter1"
OUR_OWN = re.compile(
    r'(event_id\\*":\\*")[^"\\]+|(timestamp\\*":)\d+|(lastOnlineTime\\*":\\*")[^"\\]+|(msg_id":")[^"]+'
)
"""What is new in every message: ids and times."""


def scene(name: str, direction: str) -> Iterator[Message]:
    """The messages of a scene that are about devices or from MQTT clients."""
    for line in DATA.read_bytes().splitlines():
        captured = msgspec.json.decode(line)
        source = captured["message"]["route"].get("source")
        if (captured["scene"], captured["dir"]) == (name, direction) and source in ("devicecontroller", "twin", "bus"):
            message = decode(msgspec.json.encode(captured["message"]))
            if message.route.operation != "response":
                yield message


def plain(message: Message) -> Any:
    return msgspec.json.decode(OUR_OWN.sub(r"\1\2\3\g<4>0", encode(message).decode()))


async def hear(world: DeviceWorld, name: str) -> None:
    for message in scene(name, "cloud->edge"):
        await world.meta.receive(message, classify(Direction.DOWN, message))
    await asyncio.sleep(1)


def test_the_scenes_of_devices(tmp_path: Path) -> None:
    async def main() -> None:
        cloud = CloudLink(ours=False)
        world = DeviceWorld(tmp_path, cloud, VirtualClock(), InlineDatabase)
        for payload in (p.DeviceMembership, p.DeviceDetail, p.TwinSync):
            world.meta.hand_on(payload, world.twin.from_cloud)
        async with world.running():
            await hear(world, "device-insert")
            assert len(cloud.acknowledged) == 2, "objects are acknowledged, memberships are not"
            added = await world.bus.until("membership/updated")
            assert added["added_devices"] == [{"id": "default/counter1", "name": "counter1"}]
            assert added["removed_devices"] is None

            await world.say(f"{TOPIC}/twin/update", {"event_id": "t", "twin": {"temp": {"actual": {"value": "77"}}}})
            await world.say(f"{TOPIC}/state/update", {"event_id": "s", "state": "online"})
            await Table(world.store.database, world.meta.outbox).upload("SYS/dis/upload_records", b"payload-1")
            await asyncio.sleep(1)
            said = [compose(sent, message_id="0", timestamp=0) for sent in [*world.reports(), *cloud.sent]]
            scenes = ("twin-update", "device-state", "custom-upload")
            captured = [message for name in scenes for message in scene(name, "edge->cloud")]
            assert [plain(message) for message in said] == [plain(message) for message in captured]
            assert len(captured) == 3

            await world.say("$hw/events/node/edge-1/membership/get", {"event_id": "m"})
            listed = await world.bus.until("membership/get/result")
            assert [device["id"] for device in listed["devices"]] == ["default/counter1"]

            await hear(world, "device-delete")
            gone = [told for told in world.bus.on("membership/updated") if told["removed_devices"]]
            assert [told["removed_devices"][0]["id"] for told in gone] == ["default/counter1"], "told once"
            assert world.twin.health()["devices"] == 0

    run(main())
