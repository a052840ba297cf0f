"""Thousands of devices that come one after another."""

from __future__ import annotations

import asyncio
from pathlib import Path

from octoedge.dmi import messages as m
from octoedge.edge.devicetwin.mappers import Mappers
from octoedge.edge.metamanager.schema import MIGRATIONS
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.inline import InlineDatabase
from octoedge.testing.metadata import MemoryMetadata

LOOK_SECONDS = 0.1


class Laborious(MemoryMetadata):
    """So many devices that to list them takes its time."""

    looks = 0

    async def list(self, kind: str) -> list[bytes]:
        self.looks += kind == "device"
        await asyncio.sleep(LOOK_SECONDS if kind == "device" else 0.0)
        return await super().list(kind)


async def _explain(_device: str, _why: str) -> None:
    """Nobody wants to know."""


def test_devices_that_keep_coming_take_a_share_of_the_processor_and_the_first_and_the_last_count_at_once(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        metadata = Laborious(VirtualClock())
        mappers = Mappers(InlineDatabase.open(tmp_path / "edge.db", MIGRATIONS), metadata, _explain)
        running = asyncio.get_running_loop().create_task(mappers.run())
        info = m.MapperInfo("probes", "1", "v1beta1", "probe", str(tmp_path / "probes.sock").encode(), "ok")
        await mappers.register(info, with_data=False)
        await asyncio.sleep(5.0)
        before = metadata.looks
        mappers.changed()
        await asyncio.sleep(LOOK_SECONDS / 2)
        assert metadata.looks == before + 1, "a change after a while of quiet is looked at at once"
        for _ in range(2000):
            mappers.changed()
            await asyncio.sleep(0.01)
        seen = metadata.looks - before
        assert 20 < seen < 20.0 / LOOK_SECONDS / 3
        mappers.changed()
        await asyncio.sleep(2.0)
        assert metadata.looks - before - seen in (1, 2), "the last change is looked at too, and then it is quiet"
        running.cancel()
        await asyncio.wait([running])

    run(main())
