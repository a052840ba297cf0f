"""A device in a cell that speaks MQTT itself; `mapping` has those of mappers."""

from __future__ import annotations

import asyncio
from typing import Any

from octoedge.keadm import namespace
from octoedge.testing.eventually import eventually
from octoedge.testing.peers.cell import Cell
from octoedge.transport.mqtt import Broker, connect

LAMP = """
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: lamps}
spec:
  protocol: mqtt
  properties:
  - {name: power, type: INT, accessMode: ReadWrite}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: lamp}
spec:
  deviceModelRef: {name: lamps}
  nodeName: peer
  protocol: {protocolName: mqtt}
  properties:
  - {name: power, reportToCloud: true, visitors: {protocolName: mqtt}}
"""


def over_mqtt(cell: Cell) -> None:
    """What an MQTT client on the node says of a device is in its DeviceStatus."""
    cell.apply(LAMP)
    topic = "$hw/events/device/default/lamp"

    def reported() -> Any:
        _publish(cell, f"{topic}/twin/update", b'{"event_id":"1","twin":{"power":{"actual":{"value":"7"}}}}')
        _publish(cell, f"{topic}/state/update", b'{"event_id":"2","state":"online"}')
        status = cell.get("devicestatus", "lamp").get("status", {})
        return next((twin["reported"]["value"] for twin in status.get("twins", ())), ""), status.get("state")

    eventually(reported, lambda seen: seen == ("7", "online"), within=90)
    cell.kubectl("delete", "device", "lamp", "--timeout=30s")
    cell.kubectl("delete", "devicemodel", "lamps", "--timeout=30s")


def _publish(cell: Cell, topic: str, payload: bytes) -> None:
    node = cell.edge.node

    async def say() -> None:
        client = await connect(Broker(f"tcp://127.0.0.1:{node.ports.mqtt}", "peers"))
        await client.publish(topic, payload, quality=0)
        client.close()

    namespace.inside(node, lambda: asyncio.run(say()))
