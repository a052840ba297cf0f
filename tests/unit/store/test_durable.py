"""Files are written whole or not at all, with their mode, and nothing is left beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from octoedge.store import durable


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_the_mode_holds_whatever_the_umask_says_and_whatever_was_there(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "file"
    file.write_text("before")
    file.chmod(0o666)
    before = os.umask(0o077)
    try:
        durable.write(file, b"after", mode)
    finally:
        os.umask(before)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"after", mode)
    assert list(tmp_path.iterdir()) == [file]


def test_who_has_the_old_one_open_goes_on_reading_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    durable.write(file, b"before")
    with file.open("rb") as opened:
        durable.write(file, b"after")
        assert opened.read() == b"before"


def test_what_a_crash_left_is_no_hindrance_and_a_link_there_is_not_followed(tmp_path: Path) -> None:
    file, elsewhere = tmp_path / "file", tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (tmp_path / f".file.{os.getpid()}").symlink_to(elsewhere)
    durable.write(file, b"after")
    assert (file.read_bytes(), elsewhere.read_text()) == (b"after", "mine")
    assert not file.is_symlink()


def test_what_cannot_be_written_names_the_file_and_leaves_everything_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        durable.write(tmp_path / "nowhere" / "file", b"x")
    assert caught.value.filename == str(tmp_path / "nowhere" / "file")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "in it").touch()
    with pytest.raises(IsADirectoryError):
        durable.write(folder, b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]
