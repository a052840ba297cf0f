"""Schedules mean what every cron means: compared with a search minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octoedge.apiserver.controllers.cronjobs import latest
from octoedge.apiserver.controllers.plans.cron import BadSchedule, Schedule, parse

START = datetime(2026, 11, 21, 5, 30, 12, tzinfo=UTC).timestamp()


def next_of(text: str, after: str, zone: str = "") -> str:
    found = parse(text, zone).after(datetime.fromisoformat(after).timestamp())
    return datetime.fromtimestamp(found, UTC).strftime("%Y-%m-%dT%H:%M") if found is not None else "never"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("* * * * *", "2026-11-21T05:31"),
        ("*/15 * * * *", "2026-11-21T05:45"),
        ("30 5 * * *", "2026-11-22T05:30"),
        ("0 9-17/4 * * mon-fri", "2026-11-23T09:00"),
        ("0 0 29 feb *", "2028-02-29T00:00"),
        ("0 0 13 * 5", "2026-11-27T00:00"),
        ("0 0 1 * 7", "2026-11-22T00:00"),
        ("@hourly", "2026-11-21T06:00"),
        ("CRON_TZ=Europe/Berlin 0 8 * * *", "2026-11-21T07:00"),
        ("0 0 30 2 *", "never"),
    ],
)
def test_the_next_time(text: str, expected: str) -> None:
    assert next_of(text, "2026-11-21T05:30:12+00:00") == expected


def test_summer_time_leaves_out_what_does_not_exist_and_repeats_nothing() -> None:
    assert next_of("30 2 * * *", "2026-03-28T12:00+00:00", "Europe/Berlin") == "2026-03-30T00:30"
    first = next_of("30 2 * * *", "2026-10-24T12:00+00:00", "Europe/Berlin")
    assert first == "2026-10-25T00:30"
    assert next_of("30 2 * * *", first + "+00:00", "Europe/Berlin") == "2026-10-26T01:30"


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *", "*/0 * * * *",
     "a * * * *", "1,,2 * * * *", "@sometimes", "@every 0s", "* * * * * *", "-1 * * * *", "9999999999 * * * *"],
)  # fmt: skip
def test_what_is_no_schedule(text: str) -> None:
    with pytest.raises(BadSchedule):
        parse(text)


def test_an_unknown_zone_is_named() -> None:
    with pytest.raises(BadSchedule) as refused:
        parse("* * * * *", "Mars/Olympus")
    assert refused.value.is_zone


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    one = st.one_of(st.just("*"), number.map(str), span, st.integers(1, 20).map(lambda step: f"*/{step}"))
    return st.lists(one, min_size=1, max_size=2).map(",".join)


def matches(schedule: Schedule, moment: float) -> bool:
    at = datetime.fromtimestamp(moment, UTC)
    day, weekday = at.day in schedule.days, (at.weekday() + 1) % 7 in schedule.weekdays
    on = (day and weekday) if schedule.any_day or schedule.any_weekday else (day or weekday)
    return on and at.minute in schedule.minutes and at.hour in schedule.hours and at.month in schedule.months


@settings(max_examples=60, deadline=None)
@given(field(0, 59), field(0, 23), field(1, 31), field(0, 7), st.integers(0, 86400 * 3))
def test_every_time_is_found_and_none_is_invented(minute: str, hour: str, day: str, weekday: str, offset: int) -> None:
    schedule = parse(f"{minute} {hour} {day} * {weekday}")
    begin = START + offset
    expected = next(
        (m for m in range(int(begin) // 60 * 60 + 60, int(begin) + 86400 * 4, 60) if matches(schedule, m)), None
    )
    found = schedule.after(begin)
    if expected is not None:
        assert found == expected
    else:
        assert found is None or found >= begin + 86400 * 4 - 60


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["* * * * *", "*/7 * * * *", "0 3 * * *", "15 2 1 * *"]), st.integers(60, 86400 * 70))
def test_the_latest_time_is_the_last_before_now(text: str, absence: int) -> None:
    schedule, now = parse(text), START + 86400 * 80
    found = latest(schedule, now - absence, now, 0.0)
    following = schedule.after(found if found is not None else now - absence)
    assert following is not None
    assert following > now
    assert found is None or now - absence < found <= now
