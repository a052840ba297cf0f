"""Settings of MQTT devices; the broker itself is in the conformance kit's test."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from octoedge.errors import ConfigError, DeviceError
from octoedge.mappers.framework.device import Device
from octoedge.mappers.mqtt.link import connect


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({}, "brokerURL"),
        ({"brokerURL": "somewhere"}, "brokerURL"),
        ({"ip": "127.0.0.1", "port": 99999}, "port"),
        ({"brokerURL": "tcp://127.0.0.1:9", "keepAlive": "long"}, "keepAlive"),
        ({"brokerURL": "tcp://127.0.0.1:9", "passwordFile": "/nowhere/password"}, "passwordFile"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError, match=rf"^protocol\.configData\.{field}"):
        asyncio.run(connect(Device("plant", "valve", settings=settings)))


def test_a_broker_that_is_away_is_an_error_of_the_device() -> None:
    with pytest.raises(DeviceError, match="cannot connect"):
        asyncio.run(connect(Device("plant", "valve", settings={"brokerURL": "tcp://127.0.0.1:9"})))
