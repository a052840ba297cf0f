"""Daemons are started detached, found again, and stopped; never another process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from octoedge.errors import InstallError
from octoedge.keadm.processes import (
    Daemon,
    boot_id,
    call,
    clean_environment,
    find_by_arguments,
    find_program,
    kill_leftovers,
    start_time,
)
from octoedge.testing.eventually import eventually

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"


def marked(folder: Path) -> tuple[str, ...]:
    """A command that nobody else runs."""
    return sys.executable, "-c", "import signal; signal.pause()", str(folder)


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon("sleeper", marked(tmp_path), tmp_path, tmp_path)
    yield daemon
    daemon.stop(1)


def python(tmp_path: Path, program: str) -> Daemon:
    return Daemon("python", (sys.executable, "-c", program), tmp_path, tmp_path)


def test_a_daemon_is_found_again_by_another_object(sleeper: Daemon, tmp_path: Path) -> None:
    pid = sleeper.start()
    assert Daemon("sleeper", ("another",), tmp_path, tmp_path).pid() == pid


def test_a_daemon_without_its_note_is_found_by_its_command_line(sleeper: Daemon) -> None:
    pid = sleeper.start()
    sleeper.pidfile.unlink()
    # For an instant a program that was just started has no command line yet.
    assert eventually(sleeper.pid) == pid
    sleeper.stop(5)
    assert start_time(pid) is None


def test_it_has_a_session_of_its_own(sleeper: Daemon) -> None:
    pid = sleeper.start()
    assert os.getsid(pid) == pid


def test_a_stopped_daemon_is_gone(sleeper: Daemon) -> None:
    pid = sleeper.start()
    sleeper.stop(5)
    assert sleeper.pid() is None
    assert start_time(pid) is None
    assert not sleeper.pidfile.exists()


def test_another_one_that_no_note_tells_of_is_stopped_too(sleeper: Daemon) -> None:
    pids = {sleeper.start(), sleeper.start()}
    sleeper.stop(5)
    assert [start_time(pid) for pid in pids] == [None, None]


def test_stopping_twice_is_fine(sleeper: Daemon) -> None:
    sleeper.stop(1)
    sleeper.stop(1)


def test_one_that_does_not_obey_is_killed(tmp_path: Path) -> None:
    daemon = python(tmp_path, STUBBORN)
    pid = daemon.start()
    daemon.await_ready(lambda: "up" in daemon.last_words(), 10)
    daemon.stop(0.05)
    assert start_time(pid) is None


def test_a_killed_daemon_is_not_taken_for_running(sleeper: Daemon) -> None:
    pid = sleeper.start()
    handle = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PIDFD, handle, os.WEXITED)
    os.close(handle)
    assert sleeper.pid() is None


def test_a_pid_that_was_given_out_again_is_left_alone(sleeper: Daemon) -> None:
    stranger = subprocess.Popen(("sleep", "300"))
    try:
        sleeper.pidfile.write_text(f"{stranger.pid} 1 {boot_id()}\n")
        assert sleeper.pid() is None
        sleeper.stop(1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_pid_of_an_earlier_boot_is_left_alone(sleeper: Daemon) -> None:
    sleeper.pidfile.write_text(f"{os.getpid()} {start_time(os.getpid())} another-boot\n")
    assert sleeper.pid() is None


@pytest.mark.parametrize("content", ["", "1", "a b c d", "\n\n"])
def test_a_broken_pid_file_means_not_running(sleeper: Daemon, content: str) -> None:
    sleeper.pidfile.write_text(content)
    assert sleeper.pid() is None


def test_one_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    daemon = python(tmp_path, "raise SystemExit('no licence')")
    daemon.start()
    with pytest.raises(InstallError, match=r"ended after its start(.|\n)*no licence"):
        daemon.await_ready(lambda: False, 10)


def test_one_that_never_serves_is_reported(sleeper: Daemon) -> None:
    sleeper.start()
    with pytest.raises(InstallError, match="did not become ready in 0 s"):
        sleeper.await_ready(lambda: False, 0.0)


def test_a_long_log_is_set_aside(sleeper: Daemon) -> None:
    with sleeper.log.open("wb") as log:
        log.truncate(11 << 20)
    sleeper.start()
    assert sleeper.log.stat().st_size == 0
    assert sleeper.log.with_suffix(".log.1").stat().st_size == 11 << 20


def test_the_shells_secrets_do_not_reach_a_daemon() -> None:
    environment = clean_environment({"PATH": "/bin", "AWS_SECRET": "x", "PYTHONPATH": "/x", "HOME": "/r"}, {"A": "b"})
    assert environment.keys() == {"PATH", "HOME", "PYTHONUNBUFFERED", "A"}
    assert environment["PATH"].startswith("/bin:")


def test_leftovers_are_known_by_arguments_in_a_row(tmp_path: Path) -> None:
    mark = ("-address", str(tmp_path / "x.sock"))
    program = "import signal; signal.pause()"
    ours = subprocess.Popen((sys.executable, "-c", program, *mark))
    other = subprocess.Popen((sys.executable, "-c", program, "-address", "other", mark[1]))
    try:
        assert find_by_arguments(mark) == [ours.pid]
        assert kill_leftovers(mark) == 1
        assert ours.wait() == -signal.SIGTERM
        assert other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()


def test_call_returns_the_words_of_a_program() -> None:
    assert call(("echo", "a b")) == "a b\n"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("sh", "-c", "echo no way >&2; exit 3"), "failed with status 3: no way"),
        (("no-such-program-here",), "is not on this machine"),
    ],
)
def test_call_says_what_failed(command: tuple[str, ...], words: str) -> None:
    with pytest.raises(InstallError, match=words):
        call(command)


def test_call_does_not_wait_for_ever() -> None:
    with pytest.raises(InstallError, match="gave no answer"):
        call(("sleep", "300"), timeout=0.05)


def test_a_program_is_found_where_daemons_live() -> None:
    assert find_program("sh")
    assert find_program("no-such-program-here") is None


def test_one_starts_where_its_folders_were_deleted(tmp_path: Path) -> None:
    daemon = Daemon("sleeper", marked(tmp_path), tmp_path / "run", tmp_path / "logs")
    try:
        assert daemon.start() == daemon.pid()
    finally:
        daemon.stop(1)
