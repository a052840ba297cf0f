"""One change to the machine at a time: `up` and `down` take turns, whichever installation they are for.

They look before they act, so two at once would see the same gap and fill it twice: two runtimes on one store, two
installations on one subnet. The kernel gives the lock back when its holder ends, however that happens.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from octoedge.errors import InstallError

LOCK = Path("/run/octoedge.lock")
PATIENCE = 300.0
"""Seconds to wait for another one; packages that are being installed take their time."""
_LOOK = 0.1


@contextlib.contextmanager
def turn(say: Callable[[str], None], path: Path = LOCK, patience: float = PATIENCE) -> Iterator[None]:
    """Be the only one inside. Raises `InstallError` when another does not get done."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise InstallError(f"{path} cannot be opened ({error.strerror}); it keeps two of us apart.") from error
    try:
        _take(handle, say, path, patience)
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def _take(handle: int, say: Callable[[str], None], path: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    told = False
    while not _try(handle):
        holder = os.pread(handle, 20, 0).decode(errors="replace") or "unknown"
        if not told:
            say(f"another octoedge (pid {holder}) is at work on this machine; waiting for it …")
            told = True
        if time.monotonic() > deadline:
            raise InstallError(
                f"another octoedge (pid {holder}) has held {path} for {patience:.0f} s; see what it waits for."
            )
        time.sleep(_LOOK)


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
