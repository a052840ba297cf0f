"""The message that a value is."""

from __future__ import annotations

import re

from octoedge.mappers.push.mqtt import text
from octoedge.mappers.push.sending import Sample
from octoedge.mappers.push.settings import Mqtt


def test_a_message_is_kubeedges() -> None:
    sample = Sample(Mqtt("tcp://b", "plant/t"), "plant", "boiler", "t", "float", "21.5 °C", 1_790_000_000_123)
    assert re.fullmatch(r"time is 2026-09-\d\d \d\d:\d\d:\d\d  plant/t: 21\.5 °C", text(sample).decode())
