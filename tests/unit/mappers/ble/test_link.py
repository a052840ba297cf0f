"""Settings of Bluetooth devices; bleak itself, against a BlueZ without a radio, is in the conformance kit's test."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from octoedge.errors import ConfigError
from octoedge.mappers.ble.link import characteristic, connect
from octoedge.mappers.framework.device import Device, Property


@pytest.mark.parametrize("settings", [{}, {"macAddress": "kitchen"}, {"macAddress": "C0:FF:EE:00:00:01", "timeout": 0}])
def test_settings_that_make_no_sense_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^protocol\.configData\.(macAddress|timeout): "):
        asyncio.run(connect(Device("plant", "sensor", settings=settings)))


def test_short_uuids_are_bluetooths_own() -> None:
    found = characteristic(Property("t", visitor={"characteristicUUID": "2A6E", "format": "int16", "notify": "true"}))
    assert (found.uuid, found.notify) == ("00002a6e-0000-1000-8000-00805f9b34fb", True)
    with pytest.raises(ConfigError, match=r"^properties\[t\]\.visitors\.configData\.characteristicUUID: "):
        characteristic(Property("t", visitor={"characteristicUUID": "thermometer", "format": "int16"}))
