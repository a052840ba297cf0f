"""All that a mapper pushes: an outlet for each server, each with a task and a bounded queue of its own.

    collected value ─► Outgoing ─► Waiting of the server's outlet ─► Sender ─► server
                                    │ full: the property's oldest goes   │ away: back-off, values wait
                                    └─────── counted for /metrics ───────┘ refused: dropped, said once

Nothing here holds up the reading of devices. Values that wait keep the times at which they were collected. They are not
kept over a restart of the mapper; who needs that turns telemetry on.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from octoedge.errors import ConfigError, OctoedgeError, ValueRefused
from octoedge.mappers.push.sending import Sample, Sender, Taken
from octoedge.mappers.push.settings import Target, outlet
from octoedge.mappers.push.waiting import Waiting
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

LIMIT = 5000
"""Values that wait for one server; then the oldest of the same property is dropped."""
SEND_SECONDS = 60.0
"""The last deadline of a batch; methods have shorter ones of their own."""
CLOSE_SECONDS = 5.0
WHAT = ("pushed", "push_failures", "push_refused", "push_dropped")
"""What is counted: values taken, tries that failed, values refused, values dropped because too many waited."""

Open = Callable[[Target, asyncio.TaskGroup], Sender]
"""A sender, and the group that its own tasks live in."""


def open_sender(target: Target, group: asyncio.TaskGroup) -> Sender:
    """The method that a target names. Raises `ConfigError` when a package is missing for it."""
    try:
        module = importlib.import_module(f"octoedge.mappers.push.{target.method}")
    except ImportError as error:
        raise ConfigError(
            f"pushing by {target.method} needs a package that is not installed ({error}); "
            "`pip install 'octoedge[push]'`, then start the mapper again"
        ) from error
    made: Sender = module.Sender(target, group)
    return made


class Hub:
    """The outlets of one mapper."""

    def __init__(self, group: asyncio.TaskGroup, opened: Open = open_sender) -> None:
        self._group = group
        self._opened = opened
        self._wanted: dict[str, frozenset[tuple[Any, ...]]] = {}
        """Device → outlets that it needs."""
        self._outlets: dict[tuple[Any, ...], tuple[Outlet, asyncio.Task[None]]] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        """(one of `WHAT`, method)"""

    def wants(self, device: str, targets: Collection[Target]) -> None:
        """A device pushes to these now, and to no others."""
        firsts = {outlet(target): target for target in targets}
        before = self._wanted.get(device, frozenset())
        self._wanted[device] = frozenset(firsts)
        for key, target in firsts.items():
            if key not in self._outlets:
                one = Outlet(target, functools.partial(self._opened, target, self._group), self.counts)
                task = self._group.create_task(one.run(), name=f"pushing by {target.method} to {target.place}")
                self._outlets[key] = (one, task)
        if not firsts:
            del self._wanted[device]
        self._leave(before - firsts.keys())

    def put(self, sample: Sample) -> None:
        """Push this; at once, or when the server is there again."""
        found = self._outlets.get(outlet(sample.target))
        if found is not None:
            found[0].put(sample)

    def waiting(self) -> Mapping[str, int]:
        """Method → values that wait."""
        sums: Counter[str] = Counter()
        for one, _ in self._outlets.values():
            sums[one.target.method] += len(one)
        return sums

    def _leave(self, keys: Collection[tuple[Any, ...]]) -> None:
        if not keys:
            return
        needed = frozenset[tuple[Any, ...]]().union(*self._wanted.values())
        for key in set(keys) - needed:
            one, task = self._outlets.pop(key)
            self.counts["push_dropped", one.target.method] += len(one)
            task.cancel()


class Outlet:
    """The way to one server."""

    def __init__(self, target: Target, opened: Callable[[], Sender], counts: Counter[tuple[str, str]]) -> None:
        self.target = target
        self._opened = opened
        self._counts = counts
        self._queue = Waiting(LIMIT)
        self._came = asyncio.Event()
        self._sender: Sender | None = None
        self._kept = False
        """Whether the connection has been of use before: then it may just have grown old."""
        self._refused: set[tuple[str, str, str]] = set()
        """Streams of which a value was refused; that is said once of each."""
        self._said = SaidOnce(log)
        self._subject = f"pushing by {target.method} to {target.place}"
        for what in WHAT:
            counts[what, target.method] += 0

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, sample: Sample) -> None:
        """Wait for the turn; when too many wait, the property's oldest is dropped."""
        self._drop(self._queue.put(sample))
        self._came.set()

    async def run(self) -> None:
        """Push until cancelled."""
        backoff = Backoff(first=0.5, limit=30.0)
        try:
            while True:
                await self._came.wait()
                self._came.clear()
                while self._queue:
                    seconds = await self._round(backoff)
                    if seconds:
                        await asyncio.sleep(seconds)
        finally:
            await self._close()

    async def _round(self, backoff: Backoff) -> float:
        """Send a batch; seconds to wait before the next one."""
        batch: list[Sample] = []
        kept = self._kept
        try:
            sender = self._sender = self._sender or self._opened()
            batch = self._queue.take(sender.batch)
            taken = await _hand_over(sender, batch)
        except Exception as error:
            # A client library's surprise costs this batch another try, not the other servers.
            log.debug("%s", self._subject, exc_info=True)
            known = isinstance(error, OctoedgeError)
            taken = Taken(batch, str(error) if known else f"{type(error).__name__}: {error}")
        except asyncio.CancelledError:
            self._drop(len(batch))
            raise
        self._note(batch, taken)
        if not taken.why:
            self._kept = True
            backoff.reset()
            self._said.over(self._subject, "it takes values again")
            return 0.0
        self._drop(self._queue.give_back(taken.left))
        await self._close()
        if len(taken.left) < len(batch):
            backoff.reset()
        if kept:
            return 0.0
        self._counts["push_failures", self.target.method] += 1
        self._said.trouble(self._subject, f"{taken.why}; up to {LIMIT} values wait")
        return backoff.next()

    def _note(self, batch: Sequence[Sample], taken: Taken) -> None:
        method = self.target.method
        self._counts["pushed", method] += len(batch) - len(taken.left) - len(taken.refused)
        self._counts["push_refused", method] += len(taken.refused)
        for sample, why in taken.refused:
            if sample.stream not in self._refused:
                self._refused.add(sample.stream)
                log.warning("%s: a value of %s is refused: %s; more of it are only counted",
                            self._subject, "/".join(sample.stream), why)  # fmt: skip

    def _drop(self, values: int) -> None:
        self._counts["push_dropped", self.target.method] += values

    async def _close(self) -> None:
        sender, self._sender, self._kept = self._sender, None, False
        if sender is not None:
            # The connection is given up either way; a library's last complaint changes nothing.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await sender.close()


async def _hand_over(sender: Sender, batch: Sequence[Sample]) -> Taken:
    """Send all of it; halves of what is refused, until the samples that the server does not want are found."""
    todo: list[Sequence[Sample]] = [batch]
    refused: list[tuple[Sample, str]] = []
    while todo:
        part = todo.pop()
        try:
            async with asyncio.timeout(SEND_SECONDS):
                taken = await sender.send(part)
        except ValueRefused as error:
            middle = len(part) // 2
            if not middle:
                refused.append((part[0], str(error)))
            else:
                todo += [part[middle:], part[:middle]]
            continue
        except TimeoutError:
            taken = Taken(part, f"no answer within {SEND_SECONDS:.0f} s")
        except (OctoedgeError, OSError) as error:
            taken = Taken(part, str(error))
        refused += taken.refused
        if taken.why:
            rest = [sample for later in reversed(todo) for sample in later]
            return Taken([*taken.left, *rest], taken.why, refused)
    return Taken(refused=refused)
