"""Writes a volume of small files so that a container sees all of the old content or all of the new.

<volume>/..2026_11_21_02_41_12.123456/   the files
<volume>/..data -> the newest of them    one rename changes everything
<volume>/<first part of each path> -> ..data/<…>
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path, PurePosixPath

import msgspec

_DATA = "..data"


class File(msgspec.Struct, frozen=True):
    """Content and mode of one file."""

    content: bytes
    mode: int


Payload = dict[str, File]
"""Files by relative path."""


def write(volume: Path, payload: Payload, stamp: str, group: int | None = None) -> bool:
    """Make `volume` hold exactly `payload`; whether anything changed. `stamp` names the new directory."""
    for name in payload:
        check_path(name)
    if _holds(volume, payload):
        _show(volume, payload)  # Who was killed between the rename and the links has shown nothing yet.
        return False
    old = _current(volume)
    _sweep(volume, old)
    new = volume / (f"..{stamp}" if f"..{stamp}" != old else f"..{stamp}_")
    try:
        _write_all(new, payload, group)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)  # A disk that is full must not be filled by every attempt.
        raise
    link = volume / "..data_tmp"
    with contextlib.suppress(FileNotFoundError):
        link.unlink()
    link.symlink_to(new.name)
    link.rename(volume / _DATA)
    _show(volume, payload)
    _sweep(volume, new.name)
    return True


def _write_all(new: Path, payload: Payload, group: int | None) -> None:
    new.mkdir()
    new.chmod(0o755)
    for name, file in payload.items():
        _write_one(new / name, file, new, group)


def _sweep(volume: Path, current: str) -> None:
    """Remove what is not shown any more, or never was."""
    for stale in volume.iterdir():
        if stale.name.startswith("..") and stale.name not in (_DATA, current) and not stale.is_symlink():
            shutil.rmtree(stale, ignore_errors=True)


def check_path(name: str) -> None:
    """`ValueError` unless `name` is a relative path that stays inside and cannot hide our own files."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or parts[0].startswith("..") or "\0" in name:
        raise ValueError(f"{name!r} is no path for a file in a volume: it must be relative, without '..'")


def _write_one(path: Path, file: File, root: Path, group: int | None) -> None:
    for parent in reversed(path.relative_to(root).parents[:-1]):
        directory = root / parent
        if not directory.is_dir():
            directory.mkdir()
            directory.chmod(0o755)
    path.write_bytes(file.content)
    if group is not None:
        os.chown(path, -1, group)
    path.chmod(file.mode if group is None else file.mode | 0o040)


def _current(volume: Path) -> str:
    try:
        return os.readlink(volume / _DATA)
    except OSError:
        return ""


def _holds(volume: Path, payload: Payload) -> bool:
    current = _current(volume)
    if not current:
        return False
    there = {
        os.path.relpath(os.path.join(folder, name), volume / current)
        for folder, _, names in os.walk(volume / current)
        for name in names
    }
    if there != {str(PurePosixPath(name)) for name in payload}:
        return False
    return all((volume / current / name).read_bytes() == file.content for name, file in payload.items())


def _show(volume: Path, payload: Payload) -> None:
    """Links for users: created for what is new, removed for what is gone."""
    wanted = {PurePosixPath(name).parts[0] for name in payload}
    with os.scandir(volume) as entries:
        shown = {entry.name for entry in entries if entry.is_symlink() and not entry.name.startswith("..")}
    for name in sorted(wanted - shown):
        with contextlib.suppress(FileExistsError):
            (volume / name).symlink_to(f"{_DATA}/{name}")
    for name in shown - wanted:
        (volume / name).unlink()
