"""Devices from `kubectl` to a real Modbus server and back, with our mapper as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation, fetch
from octoedge.transport.mqtt import Broker, connect
from octoedge.transport.mqtt_packets import Published

EXAMPLES = Path(__file__).parents[2] / "examples" / "devices"
MAPPER = Path(sys.executable).with_name("octoedge-mapper")
COUNTER = """
apiVersion: devices.kubeedge.io/v1alpha2
kind: DeviceModel
metadata: {name: counter-model}
spec:
  properties:
  - {name: status, description: on or off, type: {string: {accessMode: ReadWrite}}}
---
apiVersion: devices.kubeedge.io/v1alpha2
kind: Device
metadata: {name: counter, labels: {description: counter}}
spec:
  deviceModelRef: {name: counter-model}
  nodeSelector: {nodeSelectorTerms: [{matchExpressions: [{key: "", operator: In, values: [edge-1]}]}]}
status:
  twins: [{propertyName: status, desired: {value: "OFF", metadata: {type: string}}}]
"""
"""KubeEdge's counter as manifests before 1.15 have it: no mapper, an application that speaks MQTT."""
OLD_WISH = '[{"op":"replace","path":"/status/twins/0/desired/value","value":"ON"}]'
PATCH = '[{"op":"replace","path":"/spec/properties/%d/desired","value":{"value":"%s"}}]'
SETPOINT, HEATER = 1, 2


class Plant:
    """A simulated thermometer, its mapper, and its objects in the API."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.installation = installation
        self.modbus, self.http = _free_port(), _free_port()
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *words: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [MAPPER, *words], env=self.installation.environment, stdout=log, stderr=log
            )

    def start_mapper(self, what: str = "modbus") -> None:
        self.start("mapper", "run", what, "--http-port", str(self.http))

    def start_device(self) -> None:
        self.start("device", "simulate", "modbus", "--port", str(self.modbus))

    def kill(self, *names: str) -> None:
        for name in names or list(self._running):
            process = self._running.pop(name)
            process.kill()
            process.wait()

    def apply(self, namespace: str = "default") -> None:
        """The example, with the port of this test."""
        objects = list(yaml.safe_load_all((EXAMPLES / "thermometer.yaml").read_text()))
        objects[1]["spec"]["protocol"]["configData"]["port"] = self.modbus
        self.installation.kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all(objects)).check()

    def wish(self, prop: int, value: str) -> None:
        self.installation.kubectl("patch", "device", "thermometer", "--type=json", "-p", PATCH % (prop, value)).check()

    def status(self, namespace: str = "default") -> Any:
        return self.installation.get("devicestatus", "thermometer", "-n", namespace)["status"]

    def values(self, namespace: str = "default") -> dict[str, str]:
        return {twin["propertyName"]: twin["reported"]["value"] for twin in self.status(namespace).get("twins", ())}

    def read(self, prop: str) -> str:
        """What the device itself says, past everything else."""
        answer = fetch(f"http://127.0.0.1:{self.http}/api/v1/device/default/thermometer/{prop}")
        return str(json.loads(answer)["Data"]["Value"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _reaches(plant: Plant, setpoint: str) -> None:
    eventually(lambda: plant.values()["setpoint"], lambda value: value == setpoint)


@pytest.fixture
def plant(installation: Installation, tmp_path: Path) -> Iterator[Plant]:
    made = Plant(installation, tmp_path)
    made.start_device()
    made.start_mapper()
    try:
        yield made
    finally:
        made.kill()
        installation.kubectl("delete", "devices,devicemodels", "--all", "-A", "--timeout=20s").check()


def test_a_twin_that_moves_and_a_setpoint_that_is_set(plant: Plant) -> None:
    plant.apply()
    eventually(plant.values, lambda values: values.get("setpoint") == "40" and values.get("heater") == "true")
    first = float(plant.values()["temperature"])
    eventually(lambda: float(plant.values()["temperature"]), lambda now: now > first)
    plant.wish(SETPOINT, "55")
    eventually(lambda: plant.read("setpoint"), lambda value: value == "55")
    eventually(plant.values, lambda values: values["setpoint"] == "55")
    plant.wish(HEATER, "false")
    eventually(lambda: plant.read("heater"), lambda value: value == "false")
    refused = plant.installation.kubectl(
        "patch", "device", "thermometer", "--type=json", "-p", PATCH % (SETPOINT, "500")
    )
    assert "500 is outside of the model's range, 5 to 90" in refused.err
    narrower = '[{"op":"replace","path":"/spec/properties/1/maximum","value":"50"}]'
    plant.installation.kubectl("patch", "devicemodel", "thermometer", "--type=json", "-p", narrower).check()
    shown = eventually(
        lambda: plant.installation.octoedge("device", "get", "thermometer").check(),
        lambda text: "over the maximum of 50" in text,
    )
    assert "online" in shown
    columns = plant.installation.kubectl("get", "device,devicestatus").check()
    assert "modbus" in columns
    assert "online" in columns
    plant.installation.kubectl("delete", "device", "thermometer").check()
    eventually(
        lambda: plant.installation.kubectl("get", "devicestatus", "-o", "name").check(), lambda names: names == ""
    )
    with contextlib.suppress(OSError):
        assert not plant.read("setpoint")


def test_a_node_without_its_cloud_goes_on_and_the_newest_value_counts_later(plant: Plant) -> None:
    installation = plant.installation
    plant.apply()
    eventually(plant.values, lambda values: values.get("setpoint") == "40")
    installation.octoedge("node", "disconnect", "edge-1").check()
    plant.wish(SETPOINT, "60")  # the node cannot know
    fetch(f"http://127.0.0.1:{plant.http}/api/v1/devicemethod/default/thermometer/set/heater/false")
    eventually(lambda: plant.read("heater"), lambda value: value == "false")
    plant.kill("mapper")
    installation.kill("edgecore")
    installation.up()  # the agent comes back without its cloud, and with its devices
    plant.start_mapper(str(EXAMPLES / "thermometer.py"))
    eventually(lambda: plant.read("setpoint"), lambda value: value == "40")
    installation.octoedge("node", "connect", "edge-1").check()
    eventually(lambda: plant.values()["setpoint"], lambda value: value == "60")


def test_everything_may_be_killed_and_comes_back(plant: Plant) -> None:
    installation = plant.installation
    plant.apply()
    eventually(plant.values, lambda values: values.get("setpoint") == "40")
    for number, (name, again) in enumerate(
        {"mapper": plant.start_mapper, "device": plant.start_device, "edgecore": None, "cloudcore": None}.items()
    ):
        if again is not None:
            plant.kill(name)
            again()
        else:
            installation.kill(name)
            installation.up()
        plant.wish(SETPOINT, str(41 + number))
        _reaches(plant, str(41 + number))
    assert len(installation.get("devicestatus")["items"]) == 1
    eventually(lambda: plant.status()["state"], lambda state: state == "online")


def test_the_same_name_in_two_namespaces(plant: Plant) -> None:
    installation = plant.installation
    installation.kubectl("create", "namespace", "office").check()
    try:
        plant.apply()
        plant.apply("office")
        eventually(lambda: plant.values("office"), lambda values: len(values) == 3)
        installation.kubectl("delete", "device", "thermometer", "-n", "office").check()
        plant.wish(SETPOINT, "50")
        eventually(lambda: plant.values()["setpoint"], lambda value: value == "50")
    finally:
        installation.kubectl("delete", "namespace", "office", "--timeout=30s").check()


async def _counter(installation: Installation, wish: Callable[[], object]) -> None:
    """The application: it is told that it should be ON, and counts to 5."""
    topic = "$hw/events/device/default/counter/twin/update"
    client = await connect(Broker(f"tcp://127.0.0.1:{installation.layout.ports.mqtt}", "counter-application"))
    on = asyncio.Event()

    async def listen() -> None:
        async for message in client.messages():
            client.acknowledge(message)
            if isinstance(message, Published) and b'"expected":{"value":"ON"' in message.payload:
                on.set()

    async with asyncio.TaskGroup() as group, asyncio.timeout(30):
        listening = group.create_task(listen())
        await client.subscribe([(f"{topic}/document", 1)])
        await asyncio.to_thread(wish)
        await on.wait()
        said = {"twin": {"status": {"actual": {"value": "5"}, "metadata": {"type": "Updated"}}}}
        await client.publish(topic, json.dumps(said).encode())
        listening.cancel()
    client.close()


def test_a_counter_of_the_old_kind_that_speaks_mqtt(installation: Installation) -> None:
    old = ("devices.v1alpha2.devices.kubeedge.io", "counter")
    installation.kubectl("apply", "-f", "-", stdin=COUNTER).check()
    try:
        wish = lambda: installation.kubectl("patch", *old, "--type=json", "-p", OLD_WISH).check()  # noqa: E731
        asyncio.run(_counter(installation, wish))
        status = eventually(
            lambda: installation.get("devicestatus", "counter")["status"], lambda status: bool(status.get("twins"))
        )
        assert status["twins"][0]["reported"]["value"] == "5"
        assert installation.get(*old)["status"]["twins"][0]["desired"]["value"] == "ON"
    finally:
        installation.kubectl("delete", "devices,devicemodels", "--all", "--timeout=20s").check()
