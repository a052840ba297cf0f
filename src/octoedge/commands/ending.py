"""How `octoedge-mapper` ends when SIGTERM or SIGINT asks: in good order, and at once when it is asked again.

An author's code that does not give the event loop back keeps a mapper from ending in good order. Then a second signal
ends it, and says where it stood. Nothing is lost by that: what EdgeCore has taken it has stored, and what it has not
taken is read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
AGAIN_SECONDS = 0.5
"""A second signal that comes sooner is the same one: a terminal tells a program, and so does what started it."""


@contextlib.contextmanager
def orderly() -> Iterator[None]:
    """Whatever is done with signals in here is undone."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that Python has not set
                signal.signal(number, handler)


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """SIGTERM ends what is done in here as Ctrl-C does: what it began to write is taken away."""

    def handle(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    with orderly():
        signal.signal(signal.SIGTERM, handle)
        yield


def stop_on_signals(stop: Callable[[], object]) -> None:
    """Call `stop` in the running event loop at the first signal; the process ends at a later one.

    The handler is Python's, not the event loop's: it is called also while the loop is not.
    """
    loop = asyncio.get_running_loop()
    asked: list[float] = []

    def handle(number: int, frame: FrameType | None) -> None:
        asked.append(time.monotonic())
        if asked[-1] - asked[0] >= AGAIN_SECONDS:
            _end(number, frame)
        with contextlib.suppress(RuntimeError):  # the loop is closed: this is the end already
            loop.call_soon_threadsafe(stop)

    for number in SIGNALS:
        signal.signal(number, handle)


def _end(number: int, frame: FrameType | None) -> None:
    """As the signal itself would, had nobody taken it."""
    text = f"octoedge-mapper: the second signal ends it at once{_where(frame)}\n"
    with contextlib.suppress(OSError):
        os.write(2, text.encode(errors="replace"))  # what was interrupted may have been writing a log
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _where(frame: FrameType | None) -> str:
    if frame is None or frame.f_globals.get("__name__") == "selectors":
        return ""  # the event loop: it waits
    return f"; it stood at {frame.f_code.co_filename}, line {frame.f_lineno}, in {frame.f_code.co_name}"
