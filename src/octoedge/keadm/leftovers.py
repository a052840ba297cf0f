"""What daemons leave in the kernel: mounts below the home, cgroups below our root. Nothing else is touched."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

from octoedge.errors import InstallError
from octoedge.keadm.processes import call
from octoedge.runtime.mountinfo import mounted

CGROUPS = Path("/sys/fs/cgroup")


def mounts_below(folder: Path) -> list[str]:
    """Mount points below a folder, the deepest first; the folder may be reached by a link, which mounts are not."""
    real = Path(os.path.realpath(folder))
    below = (point for point in mounted() if point != str(real) and Path(point).is_relative_to(real))
    return sorted(below, key=len, reverse=True)


def unmount_below(folder: Path) -> None:
    """Take away every mount below a folder; one that is in use goes when its last user does."""
    for point in mounts_below(folder):
        call(("umount", "--lazy", point))


def remove_cgroups(root: str) -> None:
    """End what still runs in our cgroups and remove them, in every hierarchy."""
    for hierarchy in _hierarchies():
        top = hierarchy / root.strip("/")
        if top.is_dir():
            _empty(top)


def remove(path: Path) -> None:
    """Delete a file or folder of ours. Raises `InstallError` while something is mounted below it."""
    left = [] if path.is_symlink() else mounts_below(path)
    if left:
        raise InstallError(f"{left[0]} is still mounted; nothing below {path} was removed. Unmount it and try again.")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _hierarchies() -> list[Path]:
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [entry for entry in CGROUPS.iterdir() if not entry.is_symlink() and (entry / "cgroup.procs").exists()]


def _empty(top: Path) -> None:
    folders = [Path(path) for path, _, _ in os.walk(top)]
    for folder in folders:
        _kill_members(folder)
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        _remove_group(folder)


def _kill_members(folder: Path) -> None:
    try:
        members = (folder / "cgroup.procs").read_text().split()
    except OSError:  # the runtime has removed it meanwhile
        return
    # 0 is a process of another pid namespace, which has no number here; to kill(2) it would mean ourselves.
    for pid in filter(int, members):
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue


def _remove_group(folder: Path, seconds: float = 2) -> None:
    """A cgroup can be removed once its last process has been reaped, which takes a moment."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as problem:
            if time.monotonic() > deadline:
                raise InstallError(f"the cgroup {folder} could not be removed: {problem.strerror}") from problem
            time.sleep(0.02)
        else:
            return
