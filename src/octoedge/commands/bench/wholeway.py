"""A value's whole way: device → mapper → EdgeCore → link → CloudCore → store, every part a real process.

    simulated devices ──sockets──► mapper ──DMI──► edgecore (on disk) ──link──► cloudcore ──► store of telemetry

What counts is the processor time of mapper, edgecore and cloudcore for each value that lies in the store at the end,
and that none is missing there: as many as the node has numbered, and not fewer than the mapper was answered for.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from octoedge.commands.bench.process import cpu_seconds, traffic
from octoedge.commands.bench.report import Samples
from octoedge.commands.bench.world import DEADLINE, GRACE, World, ended
from octoedge.errors import DeadlineError, InstallError
from octoedge.keadm import edgehealth, telemetry
from octoedge.kube.kinds import DEVICEMODELS, DEVICES
from octoedge.mappers.kit import Rig
from octoedge.mappers.kit.rig import free_port
from octoedge.mappers.kit.run import rig_for

Json = dict[str, Any]
PROTOCOLS = ("modbus", "http", "opcua", "mqtt", "ble", "virtual")
DETAILED = "modbus"
"""Whose parts are shown."""
COUNT, CYCLE_MS = 20, 50
SECONDS, AT_REST, POLL = 8.0, 1.0, 0.2
_API = "devices.kubeedge.io/v1beta1"
_ANSWERED = re.compile(r"octoedge_mapper_values_total (\d+)")


async def whole_way(world: World) -> Samples:
    """All protocols, one after the other."""
    samples: Samples = {}
    for protocol in PROTOCOLS:
        samples |= await _one(world, rig_for(protocol))
    await asyncio.to_thread(_forget, world)
    return samples


def _forget(world: World) -> None:
    """Without its outbox, which is empty, the agent is again as small as it was."""
    world.stop("edgecore")
    for file in world.layout.edge.glob("telemetry.db*"):
        file.unlink()
    world.daemon("edgecore").start()


async def _one(world: World, rig: Rig) -> Samples:
    async with asyncio.TaskGroup() as group:
        ready = asyncio.Event()
        playing = group.create_task(rig.run(ready), name="device")
        await ready.wait()
        await world.client.create(DEVICEMODELS, "default", _model(rig))
        await _each(world.client.create(DEVICES, "default", _device(world, rig, n)) for n in range(COUNT))
        try:
            await asyncio.sleep(AT_REST)
            return await _measured(world, rig)
        finally:
            await _each(world.client.delete(DEVICES, "default", _name(rig, n)) for n in range(COUNT))
            await world.client.delete(DEVICEMODELS, "default", rig.protocol)
            playing.cancel()


async def _measured(world: World, rig: Rig) -> Samples:
    numbered, stored, before = await _numbered(world), await _stored(world), _Used.by(world)
    with _mapper(world, rig) as mapper:
        await asyncio.sleep(SECONDS)
        answered, used = await asyncio.to_thread(mapper.answered), cpu_seconds(mapper.process.pid)
    new = await _until_all_is_sent(world) - numbered
    after, found = _Used.by(world), await _stored(world) - stored
    if found != new or found < answered or not found:
        said = f"the mapper was answered for {answered} values, the node has numbered {new}, {found} are stored"
        raise DeadlineError(f"{rig.protocol}: {said}")
    parts = {"mapper": used, "edge": after.edge - before.edge, "cloud": after.cloud - before.cloud}
    samples: Samples = {f"way_{rig.protocol}": [found / sum(parts.values())]}
    if rig.protocol == DETAILED:
        samples |= {f"way_{name}_cpu": [1e6 * seconds / found] for name, seconds in parts.items()}
        samples["way_bytes"] = [(after.link - before.link) / found]
    return samples


@dataclass(frozen=True, slots=True)
class _Used:
    """Processor time so far, and bytes on the link between them."""

    edge: float
    cloud: float
    link: int

    @classmethod
    def by(cls, world: World) -> _Used:
        """As of now."""
        hub = (world.layout.ports.cloudhub,)
        return cls(cpu_seconds(world.pid("edgecore")), cpu_seconds(world.pid("cloudcore")), traffic(hub))


@dataclass(frozen=True, slots=True)
class _Mapper:
    """The mapper's process."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def answered(self) -> int:
        """Values for which EdgeCore has answered it."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=GRACE) as answer:
                found = _ANSWERED.search(answer.read().decode())
        except OSError as error:
            raise DeadlineError(f"the mapper does not answer: {error}; it said:\n{self.log.read_text()}") from error
        return int(found[1]) if found else 0


@contextmanager
def _mapper(world: World, rig: Rig) -> Iterator[_Mapper]:
    port = free_port()
    program = [str(Path(sys.executable).with_name("octoedge-mapper")), "--log-level", "warning", "run", rig.protocol]
    options = ["--edgecore", str(world.layout.edge / "dmi.sock"), "--http-port", str(port)]
    with tempfile.TemporaryDirectory(prefix="octoedge-bench-") as folder:
        path = Path(folder) / "mapper.log"
        with path.open("wb") as log:
            environment = {**os.environ, **rig.environment()}
            process = subprocess.Popen([*program, *options], env=environment, stdout=log, stderr=log)
        try:
            yield _Mapper(process, port, path)
        finally:
            ended(process)


async def _numbered(world: World) -> int:
    """Values that the node has ever numbered."""
    return int((await _outbox(world)).get("numbered", 0))


async def _until_all_is_sent(world: World) -> int:
    """Return when the cloud has all that the node has; values that it has ever numbered."""
    try:
        async with asyncio.timeout(DEADLINE):
            while (await _outbox(world)).get("waiting", 0):  # noqa: ASYNC110 - only EdgeCore itself tells
                await asyncio.sleep(POLL)
    except TimeoutError:
        raise DeadlineError(f"values wait on the node after {DEADLINE:.0f} s") from None
    return await _numbered(world)


async def _outbox(world: World) -> Json:
    health = await asyncio.to_thread(edgehealth.ask, world.layout.edge / "edgecore.sock")
    return dict(health.get("telemetry") or {})


async def _stored(world: World) -> int:
    """Values in the cloud's store, each counted once; raises `DeadlineError` where the audit is not clean."""
    with suppress(InstallError):  # before the first values there is no store
        found = await asyncio.to_thread(telemetry.audit, world.layout.cloud / "cloudcore.sock")
        if not found.well:
            raise DeadlineError(f"the audit of telemetry says: {found.text()[:500]}")
        return sum(account.stored for account in found.accounts)
    return 0


async def _each(requests: Any) -> None:
    wanted: list[Awaitable[object]] = list(requests)
    await asyncio.gather(*wanted)


def _name(rig: Rig, number: int) -> str:
    return f"{rig.protocol}-{number}"


def _model(rig: Rig) -> bytes:
    properties = [
        {"name": point.name, "type": point.type, "accessMode": "ReadWrite" if point.writable else "ReadOnly"}
        for point in rig.points
    ]
    spec = {"protocol": rig.protocol, "properties": properties}
    about = {"name": rig.protocol, "namespace": "default"}
    return msgspec.json.encode({"apiVersion": _API, "kind": "DeviceModel", "metadata": about, "spec": spec})


def _device(world: World, rig: Rig, number: int) -> bytes:
    """Every value of all its properties is kept."""

    def settings(data: Any) -> Json:
        return {"protocolName": rig.protocol, "configData": dict(data)}

    properties = [
        {"name": point.name, "collectCycle": CYCLE_MS, "reportToCloud": True, "visitors": settings(point.visitor)}
        for point in rig.points
    ]
    spec = {
        "deviceModelRef": {"name": rig.protocol}, "nodeName": world.layout.node,
        "protocol": settings(rig.settings(number)), "properties": properties,
    }  # fmt: skip
    about = {
        "name": _name(rig, number), "namespace": "default", "annotations": {"octoedge.io/telemetry": "*"},
    }  # fmt: skip
    return msgspec.json.encode({"apiVersion": _API, "kind": "Device", "metadata": about, "spec": spec})
