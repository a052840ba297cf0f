"""Files that others rely on: after a crash or a power cut each holds what it held, or what it was to hold.

data → .NAME.PID beside it, with its mode from the first byte on → fsync → rename → fsync of the folder
"""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put `data` into a file whose folder is there, whole or not at all; `mode` holds whatever the umask says.

    Raises `OSError`, which names the file; then it is as it was.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        move(fresh, path)
    except OSError as error:
        _forget(fresh)
        raise OSError(error.errno, error.strerror, str(path)) from error


def move(fresh: Path, path: Path) -> None:
    """Put a file that is on disk in the place of another one of the same folder, for good. Raises `OSError`."""
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _forget(fresh: Path) -> None:
    try:
        fresh.unlink(missing_ok=True)
    except OSError:
        return  # what stood in the way of writing stands in the way of this too
