"""A mapper whose author's code never gives the event loop back still ends when it is told twice."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

import pytest

from octoedge.runtime.clock import SystemClock
from octoedge.store.sqlite import Database
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.devices import MODEL, DeviceWorld, device
from octoedge.testing.eventually import comes_true

STUCK = """
import pathlib, time
from octoedge.mappers import Mapper, read

class Stuck(Mapper, protocol="modbus"):
    async def connect(self, device):
        return device

    @read("temperature")
    async def temperature(self, device):
        pathlib.Path(__file__).with_name("reading").touch()
        HERE
"""
WAYS = {"waits": "time.sleep(3600)", "works": "while True: pass"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_mapper_that_is_stuck(tmp_path: Path, way: str, number: signal.Signals) -> None:
    file = tmp_path / "stuck.py"
    file.write_text(STUCK.replace("HERE", WAYS[way]))
    line = next(at for at, text in enumerate(file.read_text().splitlines(), 1) if WAYS[way] in text)

    async def main() -> None:
        world = DeviceWorld(tmp_path, CloudLink(), SystemClock(), Database)
        async with asyncio.timeout(120), world.running():
            await world.push("insert", "plant/devicemodel/probe", MODEL)
            await world.put(device())
            mapper = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "octoedge.commands.mapper", "run", str(file),
                "--edgecore", str(world.socket), "--http-port", "0", stdin=DEVNULL, stderr=PIPE,
            )  # fmt: skip
            try:
                await comes_true((tmp_path / "reading").exists, within=60)
                async with asyncio.TaskGroup() as group:
                    said = group.create_task(mapper.communicate())
                    while not said.done():
                        with contextlib.suppress(ProcessLookupError):
                            mapper.send_signal(number)
                        await asyncio.wait([said], timeout=0.2)
                text = said.result()[1].decode()
            finally:
                if mapper.returncode is None:
                    mapper.kill()
                    await mapper.wait()
            assert mapper.returncode == -number
            assert f"the second signal ends it at once; it stood at {file}, line {line}, in temperature" in text

    asyncio.run(main())
