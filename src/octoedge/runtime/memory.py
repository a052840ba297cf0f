"""Memory that nobody uses any more goes back to the kernel: the C library keeps what a crowd has made it take.

resident memory, open files, looked at now and then ──grown, or a crowd left──► garbage collected, malloc_trim
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import Callable
from pathlib import Path

_LOOK_SECONDS = 10.0
_GROWN = 1.2
_LEAST = 8 << 20
"""Bytes; less is not worth the moment that it takes."""
_STILL = 1 << 20
"""Bytes; what has changed by more since the last look is still going on."""
_CROWD = 100
"""Open files."""


def trim() -> None:
    """Give free memory back to the kernel, where the C library can (glibc)."""
    import ctypes  # only here: it costs an agent 0.4 MiB, and most nodes never see a crowd

    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def collect_seldom() -> None:
    """Look for garbage in circles a seventieth as often as Python would by itself.

    That is for a daemon with much that lives long and hardly anything in circles. Messages to a thousand nodes replace
    so many objects that looks at Python's pace took one part in fifteen of the processor time, and found nothing.
    """
    gc.set_threshold(50_000, 10, 20)


def resident() -> int:
    """Bytes of this process that are in memory; 0 where the kernel does not say."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    """Descriptors that this process has open, sockets among them; 0 where the kernel does not say."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


class GivesBack:
    """Module: trims once after memory has grown and stays, and once after a crowd of connections has left.

    What grows for good is trimmed as seldom as it grows by a fifth.
    """

    name = "memory"
    needs = ()

    def __init__(
        self,
        resident: Callable[[], int] = resident,
        open_files: Callable[[], int] = open_files,
        trim: Callable[[], None] = trim,
    ) -> None:
        self._resident = resident
        self._open_files = open_files
        self._trim = trim

    async def run(self, ready: Callable[[], None]) -> None:
        """Look until cancelled."""
        ready()
        least = before = self._resident()
        most = self._open_files()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now, files = self._resident(), self._open_files()
            least, most = min(least, now), max(most, files)
            due = now > max(least * _GROWN, least + _LEAST) or most - files > _CROWD
            if due and abs(now - before) < _STILL:
                self._trim()
                least = now = self._resident()
                most = files
            before = now
