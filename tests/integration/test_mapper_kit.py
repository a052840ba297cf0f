"""The conformance kit: the mappers in the box pass it, and one that does not do what it should is found out."""

from __future__ import annotations

import asyncio
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from octoedge.commands.mapper import main
from octoedge.errors import ConfigError
from octoedge.mappers.framework.mapper import ENTRY_POINTS
from octoedge.mappers.kit import quality, run

EXAMPLE = Path(__file__).parents[2] / "examples/devices/thermometer.py"
FAULTS = {
    "wishes are set and read back": (
        '@write("setpoint")\n    async def forget(self, device, value): pass',
        "setpoint is reported to be 35",
    ),
    "device that ignores wishes": (
        "kept = {}\n"
        "    async def write_one(self, link, prop, value):\n"
        "        await super().write_one(link, prop, value)\n"
        "        self.kept[prop.name] = value\n"
        "    async def read_all(self, link, wanted):\n"
        "        return {**await super().read_all(link, wanted), **self.kept}",
        "setpoint is still 35, and why it is not 36.5, is reported",
    ),
    "absent device": (
        "async def read_all(self, link, wanted): return {one.name: 1 for one in wanted}",
        "the state is offline",
    ),
    "wrong values": (
        "async def read_all(self, link, wanted):\n"
        "        try: return await super().read_all(link, wanted)\n"
        "        except Exception: import os; os._exit(3)",
        "ended with 3",
    ),
}


def _judge(what: str, many: int | None = None, **options: object) -> tuple[int, list[str]]:
    said: list[str] = []
    failed = asyncio.run(run.judge(what, said.append, many, **options))  # type: ignore[arg-type]
    return failed, said


MANY = {"modbus": 300, "http": 200, "virtual": 1000, "mqtt": 200, "opcua": 1000, "ble": 60}
"""So many devices of each, that the test does not take too long. `octoedge-mapper test NAME` takes a thousand; by hand
on 21 November 2026, two cores: opcua all reported after 1.2 s (25 KiB each, one connection for all), http 2.3 s (35 KiB
and a connection each), mqtt 2.5 s (35 KiB and a connection each), ble the 20 that its radio keeps and 981 offline after
26 s (30 KiB each)."""


def test_every_mapper_that_says_so_is_judged() -> None:
    entries = sorted(entry_points(group=ENTRY_POINTS), reverse=True)  # of aliases the first counts
    ours = {one.value: one.name for one in entries if one.value.startswith("octoedge.mappers.")}.values()
    declared = {name: quality.declared(name) or {} for name in ours}
    assert {name for name, rules in declared.items() if "done" in rules["conformance-kit"]} == set(MANY)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("what", "many"), MANY.items())
def test_the_mappers_in_the_box_pass(what: str, many: int) -> None:
    failed, said = _judge(what, many)
    assert failed == 0, "\n".join(said)


@pytest.mark.timeout(240)
def test_the_mapper_of_the_tutorial_passes() -> None:
    failed, said = _judge(str(EXAMPLE), 100)
    assert failed == 0, "\n".join(said)


@pytest.mark.timeout(120)
def test_what_new_begins_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "boiler"]) == 0
    failed, said = _judge("boiler.py", 100)
    assert failed == 0, "\n".join(said)


@pytest.mark.parametrize("title", FAULTS)
def test_a_mapper_that_does_not_do_what_it_should_is_found_out(title: str, tmp_path: Path) -> None:
    fault, why = FAULTS[title]
    file = tmp_path / "faulty.py"
    file.write_text(
        f'from octoedge.mappers import Mapper, read, write\n\nclass Faulty(Mapper, protocol="modbus"):\n    {fault}\n'
    )
    checks = [check for check in run.CHECKS if check.title in (title, run.CHECKS[0].title)]
    failed, said = _judge(str(file), checks=checks, seconds=8.0)
    assert (failed, why in "\n".join(said)) == (1, True), "\n".join(said)


def test_a_mapper_without_a_rig_is_told_what_to_write(tmp_path: Path) -> None:
    file = tmp_path / "lonely.py"
    file.write_text('from octoedge.mappers import Mapper\n\nclass Lonely(Mapper, protocol="lonely"): pass\n')
    with pytest.raises(ConfigError, match="write a subclass of octoedge"):
        run.rig_for(str(file))
