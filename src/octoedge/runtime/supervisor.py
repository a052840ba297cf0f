"""One daemon = one supervisor = one TaskGroup.

A module has a `name`, the names it `needs`, and `async def run(self, ready)`. The supervisor starts modules when those
they need have called `ready()`. When told to stop, or when a module fails, it ends them in the reverse order: first
`drain()` for those that have one (stop accepting, finish what is under way, with a deadline), then cancellation. A
module that raises is restarted with back-off when it says `restart = True`, otherwise the daemon ends with that error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from octoedge.errors import ModuleFailed
from octoedge.runtime.backoff import Backoff

log = logging.getLogger(__name__)

_CANCEL_SECONDS = 10.0
_LONG_SECONDS = 60.0
"""A module that ran this long begins again with the shortest waiting time."""


class Module(Protocol):
    """A part of a daemon."""

    @property
    def name(self) -> str:
        """The name that users know, as in the configuration file."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the modules that must be ready first."""
        ...

    async def run(self, ready: Callable[[], None]) -> None:
        """Do the work until cancelled; call `ready()` once others may rely on it."""
        ...


@runtime_checkable
class Drainable(Protocol):
    """A module that wants to finish what is under way before it is cancelled."""

    async def drain(self) -> None:
        """Stop accepting and finish; cancelled after the supervisor's deadline, or the module's own `drain_seconds`."""
        ...


class Supervisor:
    """Runs modules in the order of their needs until `stop()` is called or one of them fails."""

    def __init__(self, modules: Sequence[Module], *, drain_seconds: float = 5.0, start_seconds: float = 60.0) -> None:
        self._modules = _in_order(modules)
        self._drain_seconds = drain_seconds
        self._start_seconds = start_seconds
        self._ready = {module.name: asyncio.Event() for module in modules}
        self._stop = asyncio.Event()
        self._failure: ModuleFailed | None = None
        self._failed: set[str] = set()

    def stop(self) -> None:
        """Ask for an orderly end; safe to call from a signal handler, and twice."""
        self._stop.set()

    async def all_ready(self) -> None:
        """Return when every module has called `ready()`."""
        for event in self._ready.values():
            await event.wait()

    @property
    def waiting_for(self) -> list[str]:
        """Names of modules that have not called `ready()` yet."""
        return [name for name, event in self._ready.items() if not event.is_set()]

    @property
    def failed(self) -> frozenset[str]:
        """Names of modules that failed and have not been started again yet."""
        return frozenset(self._failed)

    async def run(self) -> None:
        """Run everything; returns after `stop()`, raises `ModuleFailed` when a module failed.

        Either way every module has returned when this does.
        """
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._run_module(module), name=module.name) for module in self._modules]
            late = asyncio.get_running_loop().call_later(self._start_seconds, self._complain)
            try:
                await self._stop.wait()
            finally:
                late.cancel()
                await self._wind_down(tasks)
        if self._failure is not None:
            raise self._failure

    async def _run_module(self, module: Module) -> None:
        for need in module.needs:
            await self._ready[need].wait()
        backoff = Backoff()
        began = asyncio.get_running_loop().time()
        while (error := await self._run_once(module)) is not None:
            if not getattr(module, "restart", False):
                self._failure = self._failure or _failed(module, error)
                self._stop.set()
                return
            if asyncio.get_running_loop().time() - began > _LONG_SECONDS:
                backoff.reset()
            seconds = backoff.next()
            log.error("module %s failed; it starts again in %.1f s", module.name, seconds, exc_info=error)
            self._failed.add(module.name)
            await asyncio.sleep(seconds)
            self._failed.discard(module.name)
            began = asyncio.get_running_loop().time()
        self._ready[module.name].set()

    async def _run_once(self, module: Module) -> BaseException | None:
        """What the module ended with; None when it returned."""
        log.debug("= %s starts", module.name)
        try:
            await module.run(self._ready[module.name].set)
        except Exception as error:
            return error
        except asyncio.CancelledError as error:
            # Something inside was cancelled and not caught: without this the module would be gone without a word.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return error
        return None

    async def _wind_down(self, tasks: list[asyncio.Task[None]]) -> None:
        for module, task in reversed(list(zip(self._modules, tasks, strict=True))):
            if isinstance(module, Drainable) and not task.done():
                await self._drain(module)
            while not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=_CANCEL_SECONDS)
                if not task.done():
                    log.error("module %s does not end although it was cancelled", module.name)
            log.debug("= %s stopped", module.name)

    async def _drain(self, module: Drainable) -> None:
        name, seconds = getattr(module, "name", ""), getattr(module, "drain_seconds", self._drain_seconds)
        try:
            async with asyncio.timeout(seconds):
                await module.drain()
        except TimeoutError:
            log.warning("module %s did not finish within %.0f s; what is left is cut off", name, seconds)
        except Exception:
            log.exception("module %s failed while it finished", name)

    def _complain(self) -> None:
        if self.waiting_for:
            log.warning("after %.0f s not ready yet: %s", self._start_seconds, ", ".join(self.waiting_for))


def _failed(module: Module, error: BaseException) -> ModuleFailed:
    """The error that ends the daemon; a group of one says what the one says."""
    cause = error
    while isinstance(cause, BaseExceptionGroup) and len(cause.exceptions) == 1:
        cause = cause.exceptions[0]
    failure = ModuleFailed(f"module {module.name} failed: {str(cause) or type(cause).__name__}")
    failure.__cause__ = error
    return failure


def _in_order(modules: Sequence[Module]) -> list[Module]:
    """The modules so that each comes after those it needs; `ValueError` for unknown names and circles."""
    names = {module.name for module in modules}
    if len(names) < len(modules):
        raise ValueError(f"modules of the same name: {', '.join(sorted(module.name for module in modules))}")
    for module in modules:
        missing = set(module.needs) - names
        if missing:
            raise ValueError(f"module {module.name} needs {', '.join(sorted(missing))}, which is not there")
    ordered: list[Module] = []
    placed: set[str] = set()
    rest = list(modules)
    while rest:
        free = [module for module in rest if placed.issuperset(module.needs)]
        if not free:
            raise ValueError(f"modules need each other in a circle: {', '.join(module.name for module in rest)}")
        ordered += free
        placed |= {module.name for module in free}
        rest = [module for module in rest if module.name not in placed]
    return ordered
