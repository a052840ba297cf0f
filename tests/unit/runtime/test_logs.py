"""Recurring trouble is said once."""

from __future__ import annotations

import logging

import pytest

from octoedge.runtime.logs import OneLine, SaidOnce


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


def test_a_message_is_one_line_whatever_a_device_says_and_a_traceback_stays_as_it_is() -> None:
    said = logging.LogRecord("n", logging.WARNING, "", 1, "%s", ("offline: 21\r\n\x1b[2J 5 °C \ud800",), None)
    assert OneLine("%(message)s").format(said) == "offline: 21\\r\\n\\x1b[2J 5 °C \\ud800"
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        failed = logging.LogRecord("n", logging.ERROR, "", 1, "it failed", (), (ValueError, error, None))
    assert OneLine("%(message)s").format(failed) == "it failed\nValueError: two\nlines"
