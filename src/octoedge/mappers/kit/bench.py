"""What the checks work with: the mapper as a process, its EdgeCore, its device."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from octoedge.dmi import messages as m
from octoedge.dmi.values import pack_all
from octoedge.errors import ConfigError, DeviceError, OctoedgeError, first_of
from octoedge.mappers.framework import values
from octoedge.mappers.kit.edge import Edge
from octoedge.mappers.kit.rig import Point, Rig

NAMESPACE, MODEL = "kit", "device"
CYCLE_MS, STATE_MS = 100, 500
SECONDS = 40.0
"""Mappers wait longer after each failure."""
_END_SECONDS = 10.0


class Bench:
    """One mapper under test."""

    def __init__(self, what: str, rig: Rig, folder: Path, seconds: float = SECONDS) -> None:
        self.rig = rig
        self.edge = Edge(folder)
        self.edge.models[MODEL] = _model(rig)
        self.seconds = seconds
        """Until something is so that should be so soon."""
        self._what = what
        self._folder = folder
        self.process: asyncio.subprocess.Process | None = None
        self.notes: list[str] = []
        """Figures that a check found."""

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[Bench]:
        """EdgeCore and device are there; the mapper is as the checks have it."""
        async with asyncio.TaskGroup() as group:
            tasks = []
            for work, name in ((self.edge.run, "edge"), (self._play, "device")):
                ready = asyncio.Event()
                tasks.append(group.create_task(work(ready), name=name))
                await _soon(ready, name)
            try:
                yield self
            finally:
                await self.kill()
                for task in tasks:
                    task.cancel()

    async def _play(self, ready: asyncio.Event) -> None:
        """The device, until cancelled. Raises `ConfigError` when it ends before."""
        try:
            await self.rig.run(ready)
        except Exception as error:
            if isinstance(first_of(error), OctoedgeError):
                raise
            raise ConfigError(f"{self._device} has failed: {mistake(error)}") from error
        raise ConfigError(f"{self._device} ended by itself; `run` plays it until it is cancelled")

    @property
    def _device(self) -> str:
        return f"the device that {self._what} is tested with ({type(self.rig).__name__})"

    async def start(self) -> None:
        """Start the mapper, and return when it has registered."""
        before = self.edge.registered
        command = (sys.executable, "-m", "octoedge.commands.mapper", "--log-level", "warning", "run", self._what)
        options = ("--edgecore", self.edge.socket, "--socket", self._folder / "mapper.sock", "--http-port", "0")
        with (self._folder / "mapper.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, *options, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.rig.environment()},
            )  # fmt: skip
        await self.edge.until(lambda: self.edge.registered > before, SECONDS, "the mapper registers")

    async def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the mapper's process."""
        if self.process is None or self.process.returncode is not None:
            return
        self.process.send_signal(how)
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise DeviceError(f"the mapper did not end within {_END_SECONDS:g} s of {how.name}") from None

    def said(self) -> str:
        """The end of the mapper's log."""
        with contextlib.suppress(OSError):
            return (self._folder / "mapper.log").read_text(errors="replace")[-1500:]
        return ""

    def alive(self) -> None:
        """Raises `DeviceError` when the mapper's process has ended."""
        if self.process is None or self.process.returncode is not None:
            code = None if self.process is None else self.process.returncode
            raise DeviceError(f"the mapper's process ended with {code}")

    def device(self, number: int, wishes: Mapping[str, str], cycle_ms: int) -> m.Device:
        """The Device of this number, with these wishes."""
        kind = self.rig.protocol
        properties = tuple(
            m.DeviceProperty(
                point.name, m.TwinProperty(wishes.get(point.name, "")),
                m.ProtocolSettings(kind, pack_all(point.visitor, wide=True)),
                collect_cycle=cycle_ms, report_to_cloud=True,
            )
            for point in self.rig.points
        )  # fmt: skip
        settings = m.ProtocolSettings(kind, pack_all(self.rig.settings(number), wide=True))
        status = m.DeviceStatus(report_to_cloud=True, report_cycle=STATE_MS)
        return m.Device(name_of(number), m.DeviceSpec(MODEL, settings, properties), status, NAMESPACE)

    async def put(self, wishes: Mapping[str, str], number: int = 0, cycle_ms: int = CYCLE_MS) -> None:
        """This Device is there, with these wishes."""
        await self.edge.put(self.device(number, wishes, cycle_ms))

    async def all_reported(self, what: str, number: int = 0) -> None:
        """Return when each property that has a value was reported anew."""
        name = name_of(number)
        self.edge.forget(name)
        points = [point for point in self.rig.points if not point.wishes or point.visitor] or list(self.rig.points)
        await self.edge.until(
            lambda: all((name, point.name) in self.edge.latest for point in points),
            self.seconds,
            f"{what}: values come",
        )

    async def state_is(self, state: str, what: str, *, so: bool = True) -> None:
        """Return when the device's state is this, or any other."""
        name = name_of(0)
        await self.edge.until(
            lambda: (self.edge.states.get(name, state if not so else "") == state) is so, self.seconds,
            f"{what}: the state is {'' if so else 'no longer '}{state}",
        )  # fmt: skip

    async def has(self, point: Point, wish: str, what: str) -> None:
        """Return when the wish is what was reported; the device must have it too."""

        def so() -> bool:
            said = self.edge.latest.get((name_of(0), point.name))
            return said is not None and values.same(said.value, wish, point.type)

        await self.edge.until(so, self.seconds, f"{what}: {point.name} is reported to be {wish}")
        real = await self.rig.value(point.name)
        if real is not None and not values.same(real, wish, point.type):
            raise DeviceError(f"{what}: {point.name} was reported to be {wish}; the device has {real}")

    def descriptors(self) -> int:
        """Open files of the mapper's process."""
        assert self.process is not None
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory(self) -> float:
        """MiB of the mapper's process, RSS."""
        assert self.process is not None
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0


def mistake(error: BaseException) -> str:
    """What an author's code raised, and where."""
    error = first_of(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


async def _soon(ready: asyncio.Event, name: str) -> None:
    try:
        async with asyncio.timeout(SECONDS):
            await ready.wait()
    except TimeoutError as error:
        raise ConfigError(f"the {name} of the test is not there within {SECONDS:g} s: it sets no `ready`") from error


def name_of(number: int) -> str:
    """Of the Device."""
    return f"d{number}"


def _model(rig: Rig) -> m.DeviceModel:
    properties = tuple(
        m.ModelProperty(
            point.name, "", point.type, "ReadWrite" if point.writable else "ReadOnly", point.minimum, point.maximum
        )
        for point in rig.points
    )
    return m.DeviceModel(MODEL, m.DeviceModelSpec(properties), NAMESPACE)
