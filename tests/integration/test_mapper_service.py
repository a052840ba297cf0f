"""The mapper's systemd unit: the line that it starts, as written, in a network of its own, since its port is fixed."""

from __future__ import annotations

import configparser
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from octoedge.testing.eventually import eventually

EXAMPLES = Path(__file__).parents[2] / "examples" / "devices"


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_the_line_that_the_unit_starts_is_a_mapper_and_ends_when_it_is_told(tmp_path: Path) -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(EXAMPLES / "mapper.service")
    assert unit["Service"]["Restart"] == "always"
    line = unit["Service"]["ExecStart"]
    for written, here in (
        ("/opt/octoedge/.venv/bin", str(Path(sys.executable).parent)),
        ("/etc/octoedge", str(EXAMPLES)),
        ("/etc/kubeedge", str(tmp_path)),
    ):
        assert written in line
        line = line.replace(written, here)
    alone = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    log = tmp_path / "log"
    with log.open("wb") as out, subprocess.Popen((*alone, *shlex.split(line)), stdout=out, stderr=out) as started:
        try:
            eventually(lambda: (tmp_path / "modbus-mapper.sock").is_socket(), within=30)
            eventually(log.read_text, lambda text: "dmi.sock" in text and "trying again" in text)
        finally:
            started.terminate()
        assert started.wait(20) == 0, log.read_text()
    assert not (tmp_path / "modbus-mapper.sock").exists()
