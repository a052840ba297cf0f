"""One change to the machine at a time: `up` and `down` take turns, whichever installation they are for.

They look before they act, so two at once would see the same gap and fill it twice: two runtimes on one store, two
installations on one subnet. The kernel gives the lock back when its holder ends, however that happens.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from octoedge.errors import InstallError

LOCK = Path("/run/octoedge.lock")
PATIENCE = 300.0
"""Seconds to wait for another one; packages that are being installed take their time."""
QUIET = 1.0
"""Seconds of waiting that nobody needs to hear of."""
_LOOK = 0.1
_SHOWN, _WORDS = 400, 4
"""Bytes and words of what is said about the holder."""


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
        os.pwrite(handle, _me().encode(), 0)
        yield
    finally:
        os.close(handle)


def _take(handle: int, say: Callable[[str], None], path: Path, patience: float) -> None:
    """Whoever waits is told for whom, and told again when it is for somebody else."""
    began = time.monotonic()
    told = ""
    while not _try(handle):
        holder = os.pread(handle, _SHOWN, 0).decode(errors="replace") or "of unknown name"
        waited = time.monotonic() - began
        if waited >= QUIET and holder != told:
            say(f"another octoedge is at work on this machine: {holder}; waiting for it, {patience:.0f} s at most …")
            told = holder
        if waited > patience:
            raise InstallError(
                f"another octoedge ({holder}) is still at work after {patience:.0f} s; see what it waits for. It holds"
                f" {path}, which nobody needs to remove."
            )
        time.sleep(_LOOK)


def _me() -> str:
    """What is shown to those who wait for this process."""
    return f"pid {os.getpid()}, {' '.join([Path(sys.argv[0]).name, *sys.argv[1:_WORDS]])}"[: _SHOWN // 4]


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
