"""Paths that others name, on the host and inside volumes: checked, and walked so that no link leads astray."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath

_HOST_PATH_TYPES: dict[str, tuple[str, Callable[[int], bool]]] = {
    "Directory": ("a directory", stat.S_ISDIR),
    "File": ("a file", stat.S_ISREG),
    "Socket": ("a socket", stat.S_ISSOCK),
    "CharDevice": ("a character device", stat.S_ISCHR),
    "BlockDevice": ("a block device", stat.S_ISBLK),
}


def check_host_path(path: Path, kind: str) -> None:
    """Check or create a hostPath as its type says; `ValueError` when it is something else."""
    if kind == "DirectoryOrCreate" and not path.exists():
        path.mkdir(parents=True, mode=0o755)
    if kind == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    expected = _HOST_PATH_TYPES.get(kind.removesuffix("OrCreate"))
    if expected is None:
        if kind:
            raise ValueError(f"hostPath type {kind!r} is unknown")
        return
    if not path.exists() or not expected[1](path.stat().st_mode):
        raise ValueError(f"hostPath type check failed: {path} is not {expected[0]}")


def on_host(text: str) -> Path:
    """A path that an object names; `ValueError` unless it is absolute and plain."""
    path = Path(text)
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError(f"hostPath {text!r} must be absolute and without '..'")
    return path


def inside(volume: Path, sub_path: str) -> Path:
    """The real path of `sub_path` in a volume that only we write; `ValueError` when it leads out of it."""
    path = Path(os.path.realpath(volume / sub_path))
    if not path.is_relative_to(os.path.realpath(volume)):
        raise ValueError("it leads out of its volume")
    if not path.exists():
        raise ValueError("it does not exist in its volume")
    return path


def hold(volume: Path, sub_path: str) -> int:
    """An open descriptor of `sub_path`, walked without following links; missing directories are made."""
    here = os.open(volume, os.O_PATH | os.O_DIRECTORY)
    for part in PurePosixPath(sub_path).parts:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o750, dir_fd=here)
            following = os.open(part, os.O_PATH | os.O_NOFOLLOW, dir_fd=here)
        finally:
            os.close(here)
        here = following
    if stat.S_ISLNK(os.stat(here).st_mode):
        os.close(here)
        raise ValueError("it is a symbolic link")
    return here


def mount_point(target: Path, held: int) -> None:
    """Something of the same kind to mount over."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISDIR(os.fstat(held).st_mode):
        target.mkdir(exist_ok=True)
    else:
        target.touch()
