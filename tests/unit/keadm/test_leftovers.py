"""Only what lies below our folder is taken away."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from octoedge.errors import InstallError
from octoedge.keadm import leftovers


def test_mounts_are_those_below_and_not_the_folder_itself() -> None:
    assert "/proc" in leftovers.mounts_below(Path("/"))
    assert "/proc" not in leftovers.mounts_below(Path("/proc"))


def test_the_deepest_mount_comes_first() -> None:
    found = leftovers.mounts_below(Path("/"))
    assert found == sorted(found, key=len, reverse=True)


def test_a_tree_a_file_and_nothing_are_removed(tmp_path: Path) -> None:
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "file").touch()
    for name in ("tree", "file", "nothing"):
        leftovers.remove(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_removed_and_what_it_points_to_stays(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "link").symlink_to(target)
    leftovers.remove(tmp_path / "link")
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts something")
def test_nothing_is_removed_through_a_mount_whatever_the_way_there(tmp_path: Path) -> None:
    inner = tmp_path / "real/ümläut with blank"
    for folder in (inner, tmp_path / "precious"):
        folder.mkdir(parents=True)
    (tmp_path / "precious/data").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "above").symlink_to(tmp_path)
    subprocess.run(["mount", "--bind", tmp_path / "precious", inner], check=True)
    try:
        with pytest.raises(InstallError, match="is still mounted"):
            leftovers.remove(tmp_path / "above/real")
        leftovers.remove(tmp_path / "link")
        assert leftovers.mounts_below(tmp_path / "above/real") == [str(inner)]
    finally:
        leftovers.unmount_below(tmp_path / "above/real")
    assert leftovers.mounts_below(tmp_path) == []
    leftovers.remove(tmp_path / "above/real")
    assert (tmp_path / "precious/data").exists()


def test_no_cgroup_of_ours_is_fine() -> None:
    leftovers.remove_cgroups("/octoedge-test-that-is-not-there")
