"""kill -9 between any two effects: an axe that counts what a program does to the world, and falls at the wanted step.

    files below some roots ──(audit events)──► step     calls of wrapped objects ──► step before, step after

When it falls, the effect at hand is not done (or done, its answer lost), and nothing that follows in the same life has
any effect either, clean-up code included. What a step was called can be read in `steps`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

T = TypeVar("T")

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_FILE_EVENTS = {"os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.symlink": 1, "open": 0}
"""Events that change the file system, and which argument is the path."""


class Killed(BaseException):
    """The process is no more; no `except` of a program stops it."""


class Axe:
    """Counts steps once it is armed, and falls at one of them."""

    def __init__(self, roots: Iterable[Path] = (), others: tuple[str, ...] = (), *, under_way: float = 0.0) -> None:
        self._roots = tuple(f"{root}{os.sep}" for root in roots)
        self._others = others
        """Endings of files that somebody else writes, who is not killed."""
        self.under_way = under_way
        """Seconds after which a call that is under way is a step of its own; 0: it is none."""
        self._at: int | str | None = None
        self.armed = False
        self.fallen = False
        self.steps: list[str] = []

    def arm(self, at: int | str | None = None) -> None:
        """Count from now on; fall at step `at`, a number or the first of that name (None: never)."""
        self.armed, self._at = True, at

    def over(self, thing: T, effects: Iterable[str]) -> T:
        """`thing`, with a step before and a step after each of its methods that are named."""
        return cast(T, _Watched(self, thing, frozenset(effects)))

    @contextmanager
    def over_files(self) -> Iterator[None]:
        """Steps before each change below the roots."""
        _HOOK.install()
        _HOOK.listeners.append(self._file)
        try:
            yield
        finally:
            _HOOK.listeners.remove(self._file)

    def step(self, name: str) -> None:
        """Something is to be done, or has been done."""
        if not self.armed:
            return
        if self.fallen:
            raise Killed
        self.steps.append(name)
        if self._at in (len(self.steps) - 1, name):
            self.fallen = True
            raise Killed

    def _file(self, event: str, arguments: tuple[Any, ...]) -> None:
        path = str(arguments[_FILE_EVENTS[event]])
        if event == "open" and (not arguments[2] & _WRITING or path.endswith(self._others)):
            return
        root = next((root for root in self._roots if path.startswith(root)), None)
        if root is None and os.sep in path:
            return
        verb = "write" if event == "open" else event.removeprefix("os.")
        self.step(f"{verb} {path.removeprefix(root or '')}")


class _Watched:
    """Passes everything on; the named methods are steps."""

    def __init__(self, axe: Axe, thing: object, effects: frozenset[str]) -> None:
        self._axe = axe
        self._thing = thing
        self._effects = effects

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._thing, name)
        return self._cut(name, found) if name in self._effects else found

    def _cut(self, name: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def cut(*arguments: Any, **named: Any) -> Any:
            self._axe.step(name)
            answer = await self._through(name, call(*arguments, **named))
            self._axe.step(f"{name}, no answer")
            return answer

        return cut

    async def _through(self, name: str, effect: Awaitable[Any]) -> Any:
        if not self._axe.under_way:
            return await effect
        task = asyncio.ensure_future(effect)
        try:
            await asyncio.wait([task], timeout=self._axe.under_way)
            self._axe.step(f"{name}, under way")
            return await task
        finally:
            task.cancel()


class _Hook:
    """The one audit hook of this process: Python cannot take one away again."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[str, tuple[Any, ...]], None]] = []
        self._installed = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.listeners and event in _FILE_EVENTS and isinstance(arguments[_FILE_EVENTS[event]], str | os.PathLike):
            for listener in tuple(self.listeners):
                listener(event, arguments)

    def install(self) -> None:
        """From now on; asked for again, it does nothing."""
        if not self._installed:
            self._installed = True
            sys.addaudithook(self)


_HOOK = _Hook()
