"""Devices that are not there."""

from __future__ import annotations

import asyncio

import pytest

from octoedge.errors import ConfigError
from octoedge.mappers.framework.device import Device, Property
from octoedge.mappers.virtual import connect
from octoedge.testing.clock import run

TICKS = Property("ticks", "INT", visitor={"kind": "counter"})
DICE = Property("dice", "INT", visitor={"kind": "random", "max": 6})
NOTE = Property("note", "STRING", visitor={"kind": "store"})
ODD = Property("odd", "INT", visitor={"kind": "perpetual"})


def test_counters_count_dice_roll_and_notes_stay() -> None:
    async def main() -> None:
        link = await connect(Device("default", "d", settings={"seed": 7, "stepMs": 500}))
        await asyncio.sleep(5.1)
        found = await link.read([TICKS, DICE, NOTE, ODD])
        assert (found["ticks"], found["note"]) == (10, "")
        assert 0 <= found["dice"] <= 6
        assert isinstance(found["odd"], ConfigError)
        await link.write(TICKS, 100)
        await link.write(NOTE, "hello")
        await asyncio.sleep(1.1)
        found = await link.read([TICKS, NOTE])
        assert (found["ticks"], found["note"]) == (102, "hello")

    run(main())


def test_settings_that_make_no_sense_are_named() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match=r"^protocol\.configData\.stepMs: 'soon' is no number"):
            await connect(Device("default", "d", settings={"stepMs": "soon"}))
        link = await connect(Device("default", "d"))
        key = Property("key", "BYTES", visitor={"kind": "store"})
        dice = Property("dice", "INT", visitor={"kind": "random", "max": "six"})
        found = await link.read([dice, NOTE, key])
        assert str(found["dice"]).startswith("properties[dice].visitors.configData.max: 'six'")
        assert (found["note"], found["key"]) == ("", b"")

    run(main())
