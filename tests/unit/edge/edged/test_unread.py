"""What ended commands left unread is read away, and nothing else is: on real FIFOs and processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from octoedge.edge.edged.unread import PIPE, read_away, state_of

CRI = "io.containerd.grpc.v1.cri"


class State:
    """containerd's folder, with one container."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.io = folder / CRI / "containers" / "c1" / "io" / "4711"
        self.task = folder / "io.containerd.runtime.v2.task" / "k8s.io" / "c1"
        self.io.mkdir(parents=True)
        self.task.mkdir(parents=True)

    def command(self, name: str, pid: int | None, left: int) -> int:
        """A command with so much unread input; returns what holds its FIFO open, as its shim does."""
        fifo = self.io / f"{name}-stdin"
        os.mkfifo(fifo)
        if pid is not None:
            (self.task / f"{name}.pid").write_text(str(pid))
        held = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        os.write(held, b"x" * left)
        return held

    def read_away(self) -> int:
        return read_away(self.folder, "c1")


def ended() -> int:
    """The pid of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_rest_of_an_ended_command_makes_room(tmp_path: Path) -> None:
    state = State(tmp_path)
    held = state.command("a", ended(), PIPE)
    with pytest.raises(BlockingIOError):
        os.write(held, b"more")
    assert state.read_away() == PIPE
    assert os.write(held, b"more") == 4
    assert state.read_away() == 4
    assert state.read_away() == 0
    os.close(held)


def test_input_of_a_command_that_runs_or_has_no_process_yet_stays(tmp_path: Path) -> None:
    state = State(tmp_path)
    held = [state.command("runs", os.getpid(), 10), state.command("starts", None, 10)]
    assert state.read_away() == 0
    assert [len(os.read(one, 100)) for one in held] == [10, 10]
    for one in held:
        os.close(one)


def test_what_is_no_fifo_is_left_alone(tmp_path: Path) -> None:
    state = State(tmp_path)
    (state.io / "file-stdin").write_text("text")
    (state.task / "file.pid").write_text(str(ended()))
    assert state.read_away() == 0
    assert (state.io / "file-stdin").read_text() == "text"
    assert read_away(tmp_path, "none") == 0


@pytest.mark.parametrize(
    ("config", "folder"),
    [
        (f'{{"stateDir": "/run/containerd/{CRI}"}}', Path("/run/containerd")),
        ('{"stateDir": "/run/crio"}', None),
        ("{}", None),
        ("[]", None),
        ("no JSON", None),
    ],
)
def test_where_containerd_has_its_state(config: str, folder: Path | None) -> None:
    assert state_of({"config": config}) == folder
    assert state_of({}) is None
