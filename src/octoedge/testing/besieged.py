"""An installation of two nodes whose devices speak, for a siege: its processes by name, its tellers, its audit.

`processes` are what may be killed: the cloud's, each node's, and a Modbus mapper and its simulated device on each node.
"""

from __future__ import annotations

import asyncio
import csv
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

from octoedge.cloud.telemetry import store
from octoedge.keadm import namespace
from octoedge.keadm.layout import Layout
from octoedge.keadm.processes import Daemon, program
from octoedge.testing.installation import Installation
from octoedge.testing.ledger import Ledger, Pair
from octoedge.testing.tellers import Counting, Listed, Rest, Witness

FAR = "far"
"""The second node; it has a network namespace of its own."""
_API = "devices.kubeedge.io/v1beta1"
_MODBUS = 5502
_CYCLE_MS = 500
_PAUSE = 0.1
"""Seconds between two values of a client."""
_EVER = 1 << 53


class Teller(Protocol):
    """Whoever speaks for a device."""

    rest: Rest
    ledgers: dict[str, Ledger]

    async def run(self) -> None:
        """Speak until it is over."""
        ...


class Besieged:
    """The installation; make its objects with `furnish`."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.nodes: list[Layout] = [installation.node(installation.layout.node), installation.node(FAR)]
        self.port = _MODBUS + installation.offset
        self.processes: dict[str, Daemon] = {name: installation.daemon(name) for name in ("apiserver", "cloudcore")}
        self.tellers: list[tuple[Layout, Teller]] = []
        for node in self.nodes:
            self._add(node)

    def _add(self, node: Layout) -> None:
        at = "" if node is self.nodes[0] else f"@{node.node}"
        for name in ("edgecore", "mosquitto", "containerd"):
            self.processes[f"{name}@{node.node}"] = self.installation.daemon(f"{name}{at}")
        dmi, witness = node.edge / "dmi.sock", node.edge / "witness.sock"
        mapper = (
            program("octoedge-mapper"), "--log-level", "warning", "run", "modbus", "--http-port", "0",
            "--edgecore", str(witness), "--socket", str(node.edge / "soak-mapper.sock"),
        )  # fmt: skip
        device = (program("octoedge-mapper"), "simulate", "modbus", "--port", str(self.port))
        for name, command in (("mapper", mapper), ("simulator", device)):
            made = Daemon(f"soak-{name}", command, node.run, node.logs, through=namespace.through(node))
            self.processes[f"{name}@{node.node}"] = made
        port = node.ports.mqtt
        self.tellers += [
            (node, Counting(f"counted-{node.node}", dmi, _PAUSE)),
            (node, Listed(f"listed-{node.node}", port, _PAUSE, quality=0)),
            (node, Listed(f"posted-{node.node}", port, _PAUSE, quality=1)),
            (node, Witness(witness, dmi)),
        ]

    # ---- at the beginning and the end ------------------------------------------------------------------------------

    def furnish(self, export: str) -> None:
        """Devices in the API, an export in CloudCore's file, and mappers that run."""
        objects = [_model("counting", count="INT", word="STRING"), _model("listing", level="DOUBLE"), _thermometer()]
        for node in self.nodes:
            objects += [
                _device(f"counted-{node.node}", "counting", node.node, "count", "word"),
                _device(f"listed-{node.node}", "listing", node.node, "level"),
                _device(f"posted-{node.node}", "listing", node.node, "level"),
                self._thermometer_on(node.node),
            ]
        self.installation.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects)).check()
        file = self.installation.layout.cloudcore_file
        config = yaml.safe_load(file.read_text())
        ours = config.setdefault("octoedge", {}).setdefault("telemetry", {})
        ours["exports"] = [{"name": "copies", "kind": "http", "url": export}]
        file.write_text(yaml.safe_dump(config))
        self.processes["cloudcore"].stop(15)
        self.start_missing()

    def start_missing(self) -> list[str]:
        """Start whatever does not run; which those were."""
        missing = [name for name, daemon in self.processes.items() if daemon.pid() is None]
        for name in missing:
            self.processes[name].start()
        return missing

    def end(self) -> None:
        """Take all of it away."""
        for name, daemon in self.processes.items():
            if name.startswith(("mapper", "simulator")):
                daemon.stop(5)

    # ---- who speaks ------------------------------------------------------------------------------------------------

    async def speak(self) -> None:
        """Let all tellers speak until it is over; those of the far node from its network."""
        async with asyncio.TaskGroup() as group:
            for node, teller in self.tellers:
                group.create_task(_spoken(node, teller), name="teller")

    def rest(self, *, wanted: bool) -> None:
        """Ask all to rest, or to speak again."""
        for _, teller in self.tellers:
            (teller.rest.wanted.set if wanted else teller.rest.wanted.clear)()

    def over(self) -> None:
        """Let `speak` end."""
        for _, teller in self.tellers:
            teller.rest.over.set()

    @property
    def restless(self) -> list[str]:
        """Who has not come to rest yet."""
        return [
            f"{type(teller).__name__} on {node.node}" for node, teller in self.tellers if not teller.rest.taken.is_set()
        ]

    @property
    def ledgers(self) -> dict[str, Ledger]:
        """All streams."""
        return {stream: ledger for _, teller in self.tellers for stream, ledger in teller.ledgers.items()}

    # ---- what the store has ----------------------------------------------------------------------------------------

    def stored(self) -> dict[str, list[Pair]]:
        """Every stream in the order of its numbers, read from CloudCore's file past CloudCore."""
        file = self.installation.layout.cloud / "telemetry" / "telemetry.db"
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        try:
            found: dict[str, list[Pair]] = {}
            rows = connection.execute(
                "SELECT id, namespace || '/' || device || '/' || property FROM stream ORDER BY id"
            )
            for key, stream in rows.fetchall():
                _, times, texts = store.after(connection, key, 0, _EVER)
                found.setdefault(stream, []).extend(zip(times, texts, strict=True))
            return found
        finally:
            connection.close()

    def audit(self) -> dict[str, Any]:
        """What `octoedge telemetry audit` says; no accounts while CloudCore does not answer."""
        done = self.installation.octoedge("telemetry", "audit", "-o", "json")
        found: dict[str, Any] = json.loads(done.out) if done.out else {"accounts": []}
        return found

    def history(self, stream: str) -> list[str]:
        """The values that `octoedge device history` shows."""
        _, device, name = stream.split("/")
        done = self.installation.octoedge("device", "history", device, name, "--since", "1d", "-o", "csv")
        return [row[1] for row in csv.reader(done.check().splitlines())][1:]

    def complaints(self, stored: dict[str, list[Pair]]) -> Iterator[str]:
        """What is wrong with what is stored, against what was said."""
        for stream, ledger in self.ledgers.items():
            for text in ledger.complaints(stored.get(stream, [])):
                yield f"{stream}: {text}"

    def shown_wrongly(self, stored: dict[str, list[Pair]]) -> Iterator[str]:
        """What the commands for people say otherwise than the store."""
        accounts = self.audit()["accounts"]
        for account in accounts:
            stream = account["stream"]
            if account["gaps"] or account["duplicates"] or account["waiting"]:
                yield f"{stream}: the audit says {account}"
            if account["stored"] != len(stored.get(stream, [])):
                yield f"{stream}: the audit counts {account['stored']}, the store has {len(stored.get(stream, []))}"
        if len(accounts) != len(stored):
            yield f"the audit names {len(accounts)} streams, the store has {len(stored)}"
        for stream, pairs in stored.items():
            shown, wanted = self.history(stream), [text for _, text in sorted(pairs, key=lambda pair: pair[0])]
            if shown != wanted:
                yield f"{stream}: `octoedge device history` shows {_first_difference(shown, wanted)}"

    # ---- objects ---------------------------------------------------------------------------------------------------

    def _thermometer_on(self, node: str) -> dict[str, Any]:
        made = _device(f"thermometer-{node}", "thermometer", node, "temperature", "setpoint", "heater")
        settings = {"communicateMode": "TCP", "ip": "127.0.0.1", "port": self.port, "slaveID": 1}
        made["spec"]["protocol"] = {"protocolName": "modbus", "configData": settings}
        return made


def _model(name: str, **properties: str) -> dict[str, Any]:
    given = [{"name": key, "type": kind, "accessMode": "ReadOnly"} for key, kind in properties.items()]
    return {
        "apiVersion": _API, "kind": "DeviceModel", "metadata": {"name": name, "namespace": "default"},
        "spec": {"protocol": name, "properties": given},
    }  # fmt: skip


def _thermometer() -> dict[str, Any]:
    places = {"temperature": ("FLOAT", "HoldingRegister", 0), "setpoint": ("FLOAT", "HoldingRegister", 1),
              "heater": ("BOOLEAN", "CoilRegister", 0)}  # fmt: skip
    made = _model("thermometer", **{name: kind for name, (kind, _, _) in places.items()})
    made["spec"]["protocol"] = "modbus"
    for prop in made["spec"]["properties"]:
        _, register, offset = places[prop["name"]]
        scale = {"scale": 0.1} if register == "HoldingRegister" else {}
        config = {"register": register, "offset": offset, **scale}
        prop["visitors"] = {"protocolName": "modbus", "configData": config}
    return made


def _device(name: str, model: str, node: str, *properties: str) -> dict[str, Any]:
    given = [{"name": key, "collectCycle": _CYCLE_MS, "reportToCloud": True} for key in properties]
    meta = {"name": name, "namespace": "default", "annotations": {"octoedge.io/telemetry": ",".join(properties)}}
    return {
        "apiVersion": _API, "kind": "Device", "metadata": meta,
        "spec": {
            "deviceModelRef": {"name": model}, "nodeName": node, "protocol": {"protocolName": model},
            "properties": given,
        },
    }  # fmt: skip


async def _spoken(node: Layout, teller: Teller) -> None:
    """In the node's network, where it has one of its own: in a thread, whose network that is."""
    if node.namespace and isinstance(teller, Listed):
        await asyncio.to_thread(namespace.inside, node, lambda: asyncio.run(teller.run()))
    else:
        await teller.run()


def _first_difference(shown: Sequence[str], wanted: Sequence[str]) -> str:
    at = next((at for at, (one, other) in enumerate(zip(shown, wanted, strict=False)) if one != other), -1)
    return f"{len(shown)} values instead of {len(wanted)}" + (f", the first other one at {at}" if at >= 0 else "")


def installed(home: Path, offset: int) -> Installation:
    """The installation in that home, brought up with its second node."""
    made = Installation(home, offset)
    made.up()
    made.octoedge("node", "add", FAR).check()
    return made
