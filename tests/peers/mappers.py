"""A mapper in a cell, of either make, at the node's EdgeCore of either make; and the devices that it is given."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octoedge.keadm import namespace
from octoedge.keadm.files import write
from octoedge.keadm.processes import Daemon
from octoedge.testing.eventually import eventually
from octoedge.testing.peers.cell import Cell

REST = 7777
GONE = "not found"
BEHIND_GO = 90.0
"""A Go EdgeCore takes one report of all mappers a second, once it has taken a hundred."""


@dataclass(frozen=True, slots=True)
class Mapper:
    """The mapper of one make in a cell. `go`: KubeEdge's; else ours, or what `words` run in its place."""

    cell: Cell
    go: bool = False

    @property
    def protocol(self) -> str:
        """Each make has its own, so that no EdgeCore takes one for the other."""
        return "govirtual" if self.go else "virtual"

    @property
    def daemon(self) -> Daemon:
        """Where the node lives, so that its REST door is the node's."""
        node = self.cell.edge.node
        name = f"{self.protocol}-mapper"
        return Daemon(name, self._command(), node.run, node.logs, through=namespace.through(node))

    def _command(self) -> tuple[str, ...]:
        node = self.cell.edge.node
        if not self.go:
            program = Path(sys.executable).with_name("octoedge-mapper")
            return (str(program), "run", "virtual", "--edgecore", str(node.edge / "dmi.sock"))
        assert self.cell.go is not None
        return (str(self.cell.go.mapper), "--config-file", str(self._config), "--v", "4")

    @property
    def _config(self) -> Path:
        return self.cell.edge.node.edge / "govirtual.yaml"

    def start(self) -> None:
        """It registers when it can."""
        if self.go:
            write(self._config, self._settings())
        self.daemon.start()

    def kill(self) -> None:
        self.daemon.kill()

    def alive(self) -> bool:
        return self.daemon.pid() is not None

    def _settings(self) -> str:
        edge = self.cell.edge.node.edge
        common = {
            "name": "go-mapper",
            "version": "v1.13.0",
            "api_version": "v1.0.0",
            "protocol": self.protocol,
            "address": "127.0.0.1",
            "edgecore_sock": str(edge / "dmi.sock"),
            "http_port": str(REST),
        }
        return json.dumps({"grpc_server": {"socket_path": str(edge / "go-mapper.sock")}, "common": common})

    # ---- its REST door ---------------------------------------------------------------------------------------------

    def ask(self, path: str) -> Any:
        """An answer of its REST door; `AssertionError` with what it says when it refuses, `OSError` when it is away."""
        return json.loads(self.cell.page(f"api/v1/{path}", REST))

    def value(self, device: str, name: str) -> str:
        """What the mapper itself has of a device: it has the device, then."""
        data = self.ask(f"device/default/{device}/{name}")["Data"]
        return str(data["Value"])

    def knows(self, device: str) -> bool:
        """Whether it works on that device; it must answer."""
        assert self.ask("ping")["statusCode"] == 200
        try:
            self.value(device, "ticks")
        except AssertionError:
            return False
        return True


def begin(cell: Cell) -> None:
    """A Go EdgeCore anew: it lets so many calls pass since it began, and keeps devices of earlier cases."""
    if cell.edge.go:
        cell.edge.restart()
        cell.await_contact()


@contextlib.contextmanager
def running(cell: Cell, *, go: bool) -> Iterator[Mapper]:
    """A mapper that has registered, started again until it has, as its pod would be: a Go EdgeCore may refuse it."""
    mapper = Mapper(cell, go)

    def answers() -> Any:
        if not mapper.alive():
            mapper.start()
        return mapper.ask("ping")

    try:
        eventually(answers, within=30)
        yield mapper
        assert mapper.alive(), f"the mapper died: {mapper.daemon.last_words(20)}"
    finally:
        mapper.kill()


# ---- its devices ---------------------------------------------------------------------------------------------------


def model(mapper: Mapper, name: str) -> dict[str, Any]:
    """Three properties: a counter, and two that keep what they are told."""
    properties = [
        {"name": "ticks", "type": "INT", "accessMode": "ReadOnly", "unit": "steps"},
        {"name": "note", "type": "STRING", "accessMode": "ReadWrite"},
    ]
    return _object("DeviceModel", name, {"protocol": mapper.protocol, "properties": properties})


def device(mapper: Mapper, name: str, of: str, *, note: str = "hello", cycle: int = 2000) -> dict[str, Any]:
    """A Device that reports every `cycle` ms."""
    report = {"collectCycle": cycle, "reportToCloud": True}
    properties = [
        {"name": "ticks", "visitors": _visitors(mapper, "counter", "int"), **report},
        {
            "name": "note",
            "desired": {"value": note, "metadata": {"type": "string"}},
            "visitors": _visitors(mapper, "store", "string"),
            **report,
        },
    ]
    spec = {
        "deviceModelRef": {"name": of},
        "nodeName": "peer",
        "protocol": {"protocolName": mapper.protocol, "configData": {"stepMs": 500, "seed": 0.5, "on": True}},
        "stateReport": {"reportToCloud": True, "reportCycle": 2 * cycle},
        "properties": properties,
        "methods": [{"name": "set", "description": "a note", "propertyNames": ["note"]}],
    }
    return _object("Device", name, spec)


def _visitors(mapper: Mapper, kind: str, type_: str) -> dict[str, Any]:
    return {"protocolName": mapper.protocol, "configData": {"kind": kind, "dataType": type_, "max": 100}}


def _object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


@contextlib.contextmanager
def applied(cell: Cell, *objects: dict[str, Any]) -> Iterator[None]:
    """Objects that are gone afterwards, whatever happened; Devices before their model."""
    apply(cell, *objects)
    try:
        yield
    finally:
        for kind in ("Device", "DeviceModel"):
            delete(cell, kind, [one["metadata"]["name"] for one in objects if one["kind"] == kind])


def apply(cell: Cell, *objects: dict[str, Any]) -> None:
    cell.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def delete(cell: Cell, kind: str, names: list[str]) -> None:
    if names:
        cell.kubectl("delete", kind, *names, "--ignore-not-found", "--timeout=60s", timeout=90)


def wish(cell: Cell, name: str, note: str) -> None:
    """What the note of a device should be."""
    path = "/spec/properties/1/desired/value"
    patch = json.dumps([{"op": "replace", "path": path, "value": note}])
    cell.kubectl("patch", "device", name, "--type=json", "-p", patch)


def reported(cell: Cell, name: str) -> dict[str, str]:
    """The values in its DeviceStatus, and `state`."""
    status = cell.get("devicestatus", name).get("status", {})
    twins = {twin["propertyName"]: twin["reported"]["value"] for twin in status.get("twins", ())}
    return {**twins, "state": str(status.get("state", ""))}


def await_report(cell: Cell, name: str, within: float = BEHIND_GO, **expected: str) -> dict[str, str]:
    """Until the DeviceStatus says so."""
    return eventually(lambda: reported(cell, name), lambda seen: expected.items() <= seen.items(), within=within)


def await_progress(cell: Cell, name: str, than: int, within: float = BEHIND_GO) -> int:
    """Until its counter in the API is over `than`: the device lives, and its reports arrive."""
    seen = eventually(lambda: reported(cell, name), lambda now: int(now.get("ticks") or -1) > than, within=within)
    return int(seen["ticks"])


def await_no_status(cell: Cell, name: str) -> None:
    eventually(lambda: GONE in cell.try_kubectl("get", "devicestatus", name)[2], within=60)
