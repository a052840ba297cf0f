"""Volumes of small files: a reader sees the old content or the new, never a mixture, and nothing leads outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.edge.edged import atomic
from octoedge.edge.edged.atomic import File, Payload


def payload(**files: str) -> Payload:
    return {name.replace("__", "/"): File(text.encode(), 0o644) for name, text in files.items()}


def content(volume: Path) -> dict[str, str]:
    """What a container sees."""
    found: dict[str, str] = {}
    for folder, _, names in os.walk(volume, followlinks=True):
        if "/.." not in folder.removeprefix(str(volume)):
            for name in names:
                path = Path(folder, name)
                found[str(path.relative_to(volume))] = path.read_text()
    return found


def test_files_appear_change_and_go(tmp_path: Path) -> None:
    assert atomic.write(tmp_path, payload(a="1", dir__b="2"), "one")
    assert content(tmp_path) == {"a": "1", "dir/b": "2"}
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert atomic.write(tmp_path, payload(a="3", c="4"), "two")
    assert content(tmp_path) == {"a": "3", "c": "4"}
    assert sorted(os.listdir(tmp_path)) == ["..data", "..two", "a", "c"]


def test_the_same_content_is_not_written_again(tmp_path: Path) -> None:
    atomic.write(tmp_path, payload(a="1"), "one")
    assert not atomic.write(tmp_path, payload(a="1"), "two")
    assert os.readlink(tmp_path / "..data") == "..one"


def test_a_write_that_was_cut_off_is_made_good(tmp_path: Path) -> None:
    atomic.write(tmp_path, payload(a="1"), "one")
    (tmp_path / "..two").mkdir()
    (tmp_path / "..data_tmp").symlink_to("..two")
    (tmp_path / "..one/a").write_bytes(b"\0")
    assert atomic.write(tmp_path, payload(a="1"), "three")
    assert content(tmp_path) == {"a": "1"}
    assert sorted(os.listdir(tmp_path)) == ["..data", "..three", "a"]


def test_modes_are_as_asked(tmp_path: Path) -> None:
    atomic.write(tmp_path, {"key": File(b"x", 0o400)}, "one")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o400


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "..data", "..x/y", "a\0b"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no path for a file in a volume"):
        atomic.write(tmp_path, {name: File(b"", 0o644)}, "one")
    assert os.listdir(tmp_path) == []


NAMES = st.from_regex(r"[a-c](/[a-c]){0,2}", fullmatch=True)


@given(st.lists(st.dictionaries(NAMES, st.text("xy", max_size=2), max_size=4), max_size=4))
def test_the_last_content_is_what_is_seen(
    tmp_path_factory: pytest.TempPathFactory, versions: list[dict[str, str]]
) -> None:
    volume = tmp_path_factory.mktemp("volume")
    for number, version in enumerate(versions):
        # A name that is also a folder of another cannot be: the API refuses such volumes.
        files = {name: text for name, text in version.items() if not any(n.startswith(f"{name}/") for n in version)}
        atomic.write(volume, {name: File(text.encode(), 0o644) for name, text in files.items()}, str(number))
        assert content(volume) == files
