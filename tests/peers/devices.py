"""Devices in a cell: our mapper at the node's EdgeCore of either make, objects through CloudCore of either make."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from octoedge.keadm import namespace
from octoedge.testing.eventually import eventually
from octoedge.testing.peers.cell import Cell
from octoedge.transport.mqtt import Broker, connect

MANIFEST = """
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: counters}
spec:
  protocol: virtual
  properties:
  - {name: ticks, type: INT, accessMode: ReadOnly}
  - {name: note, type: STRING, accessMode: ReadWrite}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: counter, labels: {description: counts}}
spec:
  deviceModelRef: {name: counters}
  nodeName: peer
  protocol: {protocolName: virtual, configData: {stepMs: 500}}
  stateReport: {reportToCloud: true, reportCycle: 5000}
  properties:
  - name: ticks
    collectCycle: 2000
    reportToCloud: true
    visitors: {protocolName: virtual, configData: {kind: counter, dataType: int}}
  - name: note
    collectCycle: 2000
    reportToCloud: true
    desired: {value: hello, metadata: {type: string}}
    visitors: {protocolName: virtual, configData: {kind: store, dataType: string}}
"""
WISH = '[{"op": "replace", "path": "/spec/properties/1/desired/value", "value": "changed"}]'


def over_dmi(cell: Cell) -> None:
    """A device, its twins in DeviceStatus, a wish that reaches the mapper, and the end of it."""
    with _mapper(cell):
        cell.apply(MANIFEST)
        eventually(lambda: _values(cell).get("note"), lambda value: value == "hello", within=60)
        first = int(_values(cell)["ticks"])
        eventually(lambda: int(_values(cell)["ticks"]), lambda now: now > first, within=30)
        assert cell.get("devicestatus", "counter")["status"]["state"] == "online"
        cell.kubectl("patch", "device", "counter", "--type=json", "-p", WISH)
        eventually(lambda: _values(cell)["note"], lambda value: value == "changed", within=60)
        cell.kubectl("delete", "device", "counter", "--timeout=30s")
        eventually(lambda: "not found" in cell.try_kubectl("get", "devicestatus", "counter")[2], within=60)
        cell.kubectl("delete", "devicemodel", "counters", "--timeout=30s")


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


@contextlib.contextmanager
def _mapper(cell: Cell) -> Iterator[None]:
    program = Path(sys.executable).with_name("octoedge-mapper")
    words = ("run", "virtual", "--edgecore", cell.edge.node.edge / "dmi.sock", "--http-port", "0")
    with (cell.edge.node.logs / "mapper.log").open("ab") as log:
        process = subprocess.Popen([program, *words], stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _values(cell: Cell) -> dict[str, Any]:
    twins = cell.get("devicestatus", "counter").get("status", {}).get("twins", ())
    return {twin["propertyName"]: twin["reported"]["value"] for twin in twins}
