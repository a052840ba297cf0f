"""What `octoedge bench` makes of what was measured: record, table, summary, page; and a run in which things fail."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from octoedge.commands.bench import record, report
from octoedge.commands.bench.command import main
from octoedge.commands.bench.course import Course
from octoedge.commands.bench.figures import FIGURES, LARGER_IS_BETTER, Figure
from octoedge.commands.bench.record import Record, Row
from octoedge.commands.bench.report import Samples
from octoedge.commands.bench.scenarios import Scenario, scenarios
from octoedge.commands.bench.world import World
from octoedge.errors import ConfigError, DeadlineError

MACHINE = {"cores": "2", "architecture": "x86_64", "kernel": "6.1"}
NOW, BEFORE = "2026-11-21 15:00", "2026-11-20 10:00"


def test_each_figure_comes_from_one_scenario_and_has_a_name_of_its_own() -> None:
    given = Counter(key for one in scenarios(1) for key in one.figures())
    assert given == Counter(figure.key for figure in FIGURES)
    assert max(given.values()) == 1
    names = report.full_names()
    assert len(set(names.values())) == len(names) == len(FIGURES)
    assert not any(name.startswith("…") for name in names.values())
    assert {figure.key for figure in FIGURES} >= LARGER_IS_BETTER
    titles = [one.title for one in scenarios(1)]
    assert len(set(titles)) == len(titles)


def test_the_summary_counts_what_is_met_and_names_the_rest() -> None:
    figures = (
        Figure("a", "pods: memory", "MiB", None, 10),
        Figure("b", "… started", "s", None, 1),
        Figure("mqtt_rate", "… a second", "1/s", None, 1000),
        Figure("d", "other things", "s", 3, None),
        Figure("e", "a third", "s", None, 1),
    )
    rows = {"a": Row([9, 10, 11], NOW), "b": Row([1.5], NOW), "mqtt_rate": Row([999], NOW), "d": Row(failed="no")}
    assert report.summary(rows, figures).splitlines() == [
        "**1 of 4 aims are met.**",
        "", "Missed:", "", "* pods: started: 1.5 s (aim: 1)", "* pods: a second: 999 1/s (aim: 1,000)",
        "", "Failed:", "", "* other things",
        "", "Not measured yet:", "", "* a third",
    ]  # fmt: skip


def test_a_run_of_a_part_keeps_the_rest_with_its_moment(tmp_path: Path) -> None:
    path = tmp_path / "page.json"
    assert record.load(path, MACHINE) == Record(MACHINE)
    earlier = Record(MACHINE).measured("pods", {"apply_ready": [1.0], "apply_ready_own": [0.0212345678]}, BEFORE, 9.0)
    record.save(path, earlier)
    known = record.load(path, {**MACHINE, "kernel": "6.2"}).measured("restart", {"restart_ready": [0.3]}, NOW, 5.04)
    assert known.machine["kernel"] == "6.2"
    assert known.rows["apply_ready_own"] == Row([0.021235], BEFORE)
    assert known.seconds == {"pods": 9.0, "restart": 5.0}
    lines = report.table(known.rows).splitlines()[2:]
    assert [line.rpartition("| ")[2] for line in lines] == [f"{moment} |" for moment in (NOW, BEFORE, BEFORE)]
    assert [line.split(" | ")[6] for line in lines] == ["met", "missed", "met"]
    assert record.load(path, {**MACHINE, "cores": "8"}).rows == {}, "another machine's figures are no help"
    path.write_text("{")
    with pytest.raises(ConfigError, match="remove it"):
        record.load(path, MACHINE)


def test_what_fails_has_no_value_any_more_and_says_why_in_one_cell() -> None:
    known = Record(MACHINE).measured("pods", {"apply_ready": [1.0]}, BEFORE, 9.0)
    known = known.failed(["apply_ready"], "it | broke\nafter" + " long" * 100, NOW)
    (line,) = report.table(known.rows).splitlines()[2:]
    assert line.count("|") == 9
    assert "failed: it / broke after long" in line
    assert len(line) < 300
    text = report.page(known)
    assert f"**0 of {sum(figure.aim is not None for figure in FIGURES)} aims are met.**" in text
    assert "Failed:\n\n* apply → Ready in the API\n" in text


def test_a_failure_costs_its_own_figures_and_the_next_ones_get_a_new_installation() -> None:
    happened: list[str] = []

    @asynccontextmanager
    async def installation() -> AsyncIterator[World]:
        happened.append("up")
        try:
            yield cast(World, "the world")
        finally:
            happened.append("down")

    async def well(world: World) -> Samples:
        happened.append(f"measured in {world}")
        return {"restart_ready": [0.2]}

    async def alone() -> Samples:
        happened.append("measured alone")
        return {"telemetry_rate": [1.0]}

    async def badly(_: World) -> Samples:
        async with asyncio.TaskGroup() as group:
            group.create_task(_raising())
        raise AssertionError

    chosen = (
        Scenario("bad", ("apply_*",), badly),
        Scenario("good", ("restart_ready",), well),
        Scenario("before", ("telemetry_rate",), alone=alone),
    )
    kept: list[Record] = []
    course = Course(chosen, Record(MACHINE), NOW, kept.append)
    asyncio.run(course.run(installation))
    assert happened == ["measured alone", "up", "down", "up", "measured in the world", "down"]
    assert course.failures == 1
    assert [sorted(known.rows) for known in kept] == [
        ["telemetry_rate"],
        ["apply_ready", "apply_ready_own", "telemetry_rate"],
        ["apply_ready", "apply_ready_own", "restart_ready", "telemetry_rate"],
    ]
    assert kept[-1].rows["apply_ready"] == Row(taken=NOW, failed="too late")


async def _raising() -> None:
    raise DeadlineError("too late")


def test_without_an_installation_all_that_need_one_fail_with_that() -> None:
    @asynccontextmanager
    async def installation() -> AsyncIterator[World]:
        raise DeadlineError("no port is free")
        yield

    async def never(_: World) -> Samples:
        raise AssertionError

    chosen = (Scenario("one", ("apply_ready",), never), Scenario("two", ("restart_ready",), never))
    course = Course(chosen, Record(MACHINE), NOW, lambda _: None)
    asyncio.run(course.run(installation))
    assert {row.failed for row in course.record.rows.values()} == {"no installation: no port is free"}
    assert len(course.record.rows) == course.failures == 2


def test_who_ends_a_run_keeps_what_was_measured() -> None:
    async def measured() -> Samples:
        return {"telemetry_rate": [1.0]}

    async def ended() -> Samples:
        raise asyncio.CancelledError

    chosen = (Scenario("one", ("telemetry_*",), alone=measured), Scenario("two", ("mapper_*",), alone=ended))
    kept: list[Record] = []
    course = Course(chosen, Record(MACHINE), NOW, kept.append)

    async def run() -> None:
        with pytest.raises(asyncio.CancelledError):
            await course.run(lambda: pytest.fail("nothing needs it"))

    asyncio.run(run())
    assert [sorted(known.rows) for known in kept] == [["telemetry_rate"]]


def test_a_word_that_no_scenario_has_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nonsense"]) == 2
    assert "control plane alone, fleet of 1,000 nodes" in capsys.readouterr().err
