"""Recurring trouble is said once."""

from __future__ import annotations

import logging

import pytest

from octoedge.runtime.logs import SaidOnce


def test_trouble_is_said_when_it_begins_and_changes_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    said = SaidOnce(logging.getLogger("octoedge.test"))
    with caplog.at_level(logging.INFO):
        said.over("cloud", "never heard")
        for text in ("away", "away", "refused", "refused", "away"):
            said.trouble("cloud", text)
        said.trouble("broker", "away")
        said.over("cloud", "back")
        said.over("cloud", "back")
        said.trouble("cloud", "away")
    assert [record.getMessage() for record in caplog.records] == [
        "cloud: away", "cloud: refused", "cloud: away", "broker: away", "cloud: back", "cloud: away",
    ]  # fmt: skip
