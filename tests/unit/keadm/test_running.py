"""A daemon as a step: started when it is not there, and anew when its settings are newer than it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from octoedge.errors import ConfigError, InstallError
from octoedge.keadm.processes import Daemon
from octoedge.keadm.running import Running


@pytest.fixture
def step(tmp_path: Path) -> Iterator[Running]:
    settings = tmp_path / "settings.yaml"
    settings.write_text("")
    daemon = Daemon(
        "sleeper", (sys.executable, "-c", "import signal; signal.pause()", str(tmp_path)), tmp_path, tmp_path
    )
    yield Running("sleeper", daemon, lambda: True, settings)
    daemon.stop(1)


def change(step: Running, after: int) -> None:
    """Give the settings a time, in seconds after the daemon's start."""
    assert step.settings is not None
    at = step.daemon.pidfile.stat().st_mtime + after
    os.utime(step.settings, (at, at))


def test_it_is_started_once(step: Running) -> None:
    assert not step.check()
    step.do()
    change(step, -1)
    assert step.check()


def test_one_that_began_before_its_settings_changed_is_started_anew(step: Running) -> None:
    step.do()
    first = step.daemon.pid()
    change(step, 1)
    assert not step.check()
    assert step.do().startswith(f"{step.settings} has changed, pid ")
    assert step.daemon.pid() not in (first, None)


def test_nobody_is_stopped_for_settings_with_which_nobody_can_start(step: Running) -> None:
    def judge(settings: Path) -> object:
        raise ConfigError(f"{settings.name}: foo is no key")

    step.do()
    first = step.daemon.pid()
    change(step, 1)
    with pytest.raises(InstallError, match=r"foo is no key\. sleeper goes on with what it read before"):
        replace(step, judge=judge).do()
    assert step.daemon.pid() == first


def test_settings_that_are_gone_end_nobody(step: Running) -> None:
    step.do()
    assert step.settings is not None
    step.settings.unlink()
    assert step.check()
