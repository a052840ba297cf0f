"""What `octoedge device plot` writes, asked of a socket that answers as CloudCore's."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from octoedge.commands.octoedge import main

ANSWER = b'{"times": [1000, 2000, 3000], "values": ["20", "off", "21.5"], "cut": false}\n'


@contextlib.contextmanager
def cloudcore(folder: Path) -> Iterator[str]:
    """Answers one question; the name of its status socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "cloudcore.telemetry.sock"))
        listener.listen()
        listener.settimeout(30)

        def answer() -> None:
            connection = listener.accept()[0]
            with connection, connection.makefile("rb") as asked:
                asked.readline()
                connection.sendall(ANSWER)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield str(folder / "cloudcore.sock")
        finally:
            thread.join()


@pytest.mark.parametrize(("name", "begin"), [("day.svg", b"<svg"), ("day.png", b"\x89PNG"), ("DAY.PNG", b"\x89PNG")])
def test_a_picture_is_written_as_its_name_says(
    tmp_path: Path, name: str, begin: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with cloudcore(tmp_path) as status:
        given = ["device", "plot", "th", "temperature", "--socket", status, "-o", str(tmp_path / name)]
        assert main(given) == 0
    assert (tmp_path / name).read_bytes().startswith(begin)
    assert capsys.readouterr().out == f"{tmp_path / name}\n"


def test_a_picture_of_no_known_kind_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with cloudcore(tmp_path) as status:
        assert main(["device", "plot", "th", "temperature", "--socket", status, "-o", "day.jpg"]) != 0
    assert "day.jpg is none of .svg, .png" in capsys.readouterr().err


def test_a_time_that_is_none_is_refused_with_all_that_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    for odd in ("blah", "0d", "d", "5x"):
        with pytest.raises(SystemExit):
            main(["device", "history", "th", "temperature", "--since", odd])
        assert f"{odd!r} is no time such as 30s, 5m, 1h or 7d" in capsys.readouterr().err
