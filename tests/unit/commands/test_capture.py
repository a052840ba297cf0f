"""`octoedge capture`, before a daemon that is killed, that refuses, and that says all."""

from __future__ import annotations

import argparse
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from octoedge.commands.capture import add_arguments, run, seconds, size
from octoedge.errors import InstallError
from octoedge.protocol.capture import Begin, End, line

BEGIN = line(Begin(role="edge", program="Octoedge 1", node="", time=0.0))
END = line(End(at=1.0, why="its time is over", messages=0, dropped=0))


@contextmanager
def daemon(folder: Path, answer: bytes) -> Iterator[list[dict[str, object]]]:
    """A daemon that answers so and is gone; gives what it was asked."""
    asked: list[dict[str, object]] = []

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):  # who asked may have gone
            asked.append(json.loads(connection.makefile().readline()))
            connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "edgecore.capture.sock"))
        listening.listen()
        listening.settimeout(20)
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        yield asked
        thread.join()


def given(folder: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["--socket", str(folder / "edgecore.sock"), "-o", str(folder / "f"), *words])


def test_what_the_daemon_says_is_in_a_file_for_its_owner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(tmp_path, BEGIN + END) as asked:
        assert run(given(tmp_path, "edge-1", "--for", "2m", "--max", "1M")) == 0
    assert asked == [{"node": "edge-1", "seconds": 120.0, "bytes": 1 << 20}]
    assert (tmp_path / "f").read_bytes() == BEGIN + END
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600
    assert "it ended because its time is over; play it: octoedge replay" in capsys.readouterr().out


def test_a_daemon_that_is_killed_leaves_what_it_has_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(tmp_path, BEGIN + b'{"record":"mess'):
        assert run(given(tmp_path)) == 1
    assert "has no end: whoever wrote it was stopped" in capsys.readouterr().out
    assert (tmp_path / "f").exists()


def test_a_daemon_that_refuses_is_quoted_and_leaves_no_file(tmp_path: Path) -> None:
    with daemon(tmp_path, b"4 captures are running here already\n"), pytest.raises(InstallError, match="4 captures"):
        run(given(tmp_path))
    assert not (tmp_path / "f").exists()


def test_no_file_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("mine")
    with daemon(tmp_path, b""), pytest.raises(InstallError, match="is there already"):
        run(given(tmp_path))
    assert (tmp_path / "f").read_text() == "mine"


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="is the daemon running"):
        run(given(tmp_path))


def test_times_and_sizes() -> None:
    assert [seconds(text) for text in ("90", "90s", "1.5m", "1h")] == [90, 90, 90, 3600]
    assert [size(text) for text in ("5000", "500k", "64M", "1g")] == [5000, 500 << 10, 64 << 20, 1 << 30]
    for text in ("", "0", "-1", "5 m", "1d", "x"):
        with pytest.raises(argparse.ArgumentTypeError):
            seconds(text)
