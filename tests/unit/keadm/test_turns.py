"""`up` and `down` take turns, and nobody is locked out by one that died."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from octoedge.errors import InstallError
from octoedge.keadm.turns import turn

HOLDER = """
import sys, time
from pathlib import Path
from octoedge.keadm.turns import turn
with turn(print, Path(sys.argv[1])):
    print("inside", flush=True)
    time.sleep(60)
"""


def quiet(_line: str) -> None:
    return


def test_one_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        with turn(quiet, tmp_path / "lock", 10):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.02)  # long enough for another to come in, were it let
            inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_who_waits_is_told_for_whom_and_not_for_ever(tmp_path: Path) -> None:
    said: list[str] = []
    lock = tmp_path / "lock"
    with (
        subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True) as holder,
    ):
        assert holder.stdout is not None
        assert holder.stdout.readline() == "inside\n"
        with pytest.raises(InstallError, match=f"pid {holder.pid}, -c {lock}"), turn(said.append, lock, 1.3):
            pass
        holder.kill()
    assert [f"pid {holder.pid}" in line for line in said] == [True]


def test_one_that_was_killed_holds_up_nobody(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "inside\n"
        holder.kill()
        holder.wait()
        with turn(quiet, lock, 5):
            pass


def test_only_root_can_hold_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with turn(quiet, lock):
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="cannot be opened"), turn(quiet, tmp_path / "none" / "lock"):
        pass
