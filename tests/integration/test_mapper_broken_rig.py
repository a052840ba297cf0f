"""The conformance kit with a device whose author made a mistake: it says which, and where."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from octoedge.commands.mapper import main
from octoedge.mappers.kit import run

MAPPER = """
import asyncio
from octoedge.mappers import Mapper, read
from octoedge.mappers.kit import Point, Rig

class Broken(Mapper, protocol="broken"):
    @read("level")
    async def level(self, device): return 5

class BrokenRig(Rig, protocol="broken"):
    points = (Point("level", "INT", {}),)
    def settings(self, number): return {}
    async def run(self, ready):
        ready.set()
        await asyncio.Event().wait()
"""
FAULTS = {
    "made": ("points = ", "    def __init__(self): self.port\n", "no device to test", "'port' (broken.py:11)"),
    "served": (
        "        ready.set()",
        "        raise OSError('the port is taken')\n",
        "has failed",
        "taken (broken.py:14)",
    ),
    "ends": ("        await asyncio", "        return\n", "ended by itself", "until it is cancelled"),
}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_broken_device_is_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: tuple[str, str, str, str]
) -> None:
    before, more, said, where = fault
    file = tmp_path / "broken.py"
    lines = MAPPER.splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if line.lstrip().startswith(before.lstrip()) and number > 9)
    file.write_text("".join([*lines[:at], more, *lines[at:]]))
    main(["test", str(file), "--devices", "3"])
    told = "".join(capsys.readouterr())
    assert said in told
    assert where in told
    assert "Traceback" not in told


def test_a_mistake_that_a_check_meets_fails_that_check(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text(MAPPER.replace("return {}", "return {'port': self.port}"))
    said: list[str] = []
    assert asyncio.run(run.judge(str(file), said.append, 3, run.CHECKS[:1])) == 1
    assert "a mistake in the rig: AttributeError" in said[0]
    assert said[0].endswith("(broken.py:12)")
