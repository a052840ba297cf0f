"""Mappers: how many values one core carries from devices of each protocol to EdgeCore's door, and what a mapper with a
thousand points holds.

    simulated devices ──sockets──► the mapper, a process ──DMI──► an EdgeCore that counts (the conformance kit's)

The device side runs in this process, so the mapper's own processor time is what counts.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from octoedge.commands.bench.process import cpu_seconds, memory
from octoedge.commands.bench.report import Samples
from octoedge.mappers.kit import Point, Rig
from octoedge.mappers.kit.bench import Bench
from octoedge.mappers.kit.run import rig_for

PROTOCOLS = ("modbus", "http", "opcua", "mqtt", "ble", "virtual")
DEVICES, CYCLE_MS = 20, 20
WARM_SECONDS, SECONDS = 1.0, 4.0
POINTS = 1000


async def mappers() -> Samples:
    """All protocols, one after the other."""
    samples: Samples = {f"mapper_{protocol}": [await _rate(protocol)] for protocol in PROTOCOLS}
    rig = rig_for("modbus")
    register = {"register": "HoldingRegister", "scale": 0.1}
    rig.points = tuple(Point(f"p{number}", "FLOAT", {**register, "offset": number % 16}) for number in range(POINTS))
    async with _working("modbus", rig) as bench:
        await bench.put({}, cycle_ms=1000)
        await bench.all_reported("a thousand points")
        await asyncio.sleep(WARM_SECONDS)
        held = memory(_pid(bench))
    samples["mapper_memory_rss"], samples["mapper_memory_private"] = [held.rss], [held.private]
    return samples


async def _rate(protocol: str) -> float:
    """Values for each second of the mapper's processor time."""
    async with _working(protocol, rig_for(protocol)) as bench:
        for number in range(DEVICES):
            await bench.put({}, number, CYCLE_MS)
        await bench.all_reported("the first", DEVICES - 1)
        await asyncio.sleep(WARM_SECONDS)
        values, used = bench.edge.values, cpu_seconds(_pid(bench))
        await asyncio.sleep(SECONDS)
        return (bench.edge.values - values) / max(cpu_seconds(_pid(bench)) - used, 0.01)


@asynccontextmanager
async def _working(what: str, rig: Rig) -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="octoedge-bench-") as folder:
        async with Bench(what, rig, Path(folder)).working() as bench:
            await bench.start()
            yield bench


def _pid(bench: Bench) -> int:
    assert bench.process is not None
    return bench.process.pid
