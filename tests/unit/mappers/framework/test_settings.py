"""Numbers and switches out of configData."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from octoedge.errors import ConfigError
from octoedge.mappers.framework import settings

WHERE = "protocol.configData"


def test_numbers_come_as_numbers_or_as_texts_and_may_be_left_out() -> None:
    given = {"port": "502", "slaveID": 1.0, "maxAge": 2.5, "timeout": "0.5", "scale": "0.1", "swap": "True"}
    assert settings.whole(given, "port", 1, 1, 65535, WHERE) == 502
    assert settings.whole(given, "slaveID", 1, 0, 255, WHERE) == 1
    assert settings.whole(given, "baudRate", 9600, 50, 4_000_000, WHERE) == 9600
    assert settings.number(given, "maxAge", 300.0, 1, 86400, WHERE) == 2.5
    assert settings.seconds(given, "timeout", 3.0, WHERE) == 0.5
    assert settings.scale(given, WHERE) == 0.1
    assert settings.scale({}, WHERE) == 1.0
    assert settings.flag(given, "swap")
    assert not settings.flag(given, "port")
    assert not settings.flag({}, "swap")


@pytest.mark.parametrize("said", ["soon", None, [], "nan", "inf", -1, 0, 10**400])
@pytest.mark.parametrize(
    "read",
    [
        lambda given: settings.number(given, "scale", 1, 1, 10, WHERE),
        lambda given: settings.whole(given, "scale", 1, 1, 10, WHERE),
        lambda given: settings.seconds(given, "scale", 1, WHERE),
    ],
)
def test_what_makes_no_sense_is_named_by_its_path(read: Callable[[dict[str, Any]], float], said: Any) -> None:
    with pytest.raises(ConfigError, match=r"^protocol\.configData\.scale: .* is no (whole )?number "):
        read({"scale": said})


def test_half_a_register_and_a_scale_of_nothing_make_no_sense() -> None:
    with pytest.raises(ConfigError, match=r"'1\.5' is no whole number from 0 to 9"):
        settings.whole({"offset": 1.5}, "offset", 0, 0, 9, WHERE)
    for said in (0, "nan", "inf"):
        with pytest.raises(ConfigError, match="is no number other than 0"):
            settings.scale({"scale": said}, WHERE)
