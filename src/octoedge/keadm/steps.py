"""The shape of every change that is made to a machine: look, do, undo.

`advance` goes through the steps in order and does those that are not done; run again, it does nothing. `retreat` goes
back in reverse order. A step never trusts a note about what was done: it looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from octoedge.errors import InstallError

Say = Callable[[str], None]
"""Shows one line of progress."""


class Step(Protocol):
    """One change to the machine, which can be seen, made and taken back."""

    @property
    def title(self) -> str:
        """What it brings, in a few words."""
        ...

    def check(self) -> bool:
        """Whether it is already as it should be; changes nothing."""
        ...

    def do(self) -> str:
        """Make it so; returns what there is to tell. Raises `InstallError`."""
        ...

    def undo(self) -> None:
        """Take it back; fine when there is nothing to take back."""
        ...


@dataclass(frozen=True, slots=True)
class Written:
    """The common step: files and folders whose content follows from the layout; undone with the home."""

    title: str
    check: Callable[[], bool]
    do: Callable[[], str]
    undo: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Gone:
    """Something that is only ever taken away."""

    title: str
    undo: Callable[[], None]

    def check(self) -> bool:
        return False

    def do(self) -> str:
        raise InstallError(f"{self.title}: only ever taken away")


def advance(steps: Sequence[Step], say: Say) -> int:
    """Do what is not done; returns how many steps had something to do."""
    changed = 0
    for number, step in enumerate(steps, 1):
        mark = f"[{number}/{len(steps)}] {step.title}"
        if step.check():
            say(f"{mark}: as it should be")
            continue
        say(f"{mark} …")
        told = step.do()
        changed += 1
        if told:
            say(f"      {told}")
    return changed


def retreat(steps: Iterable[Step], say: Say) -> None:
    """Take back, last step first."""
    for step in reversed(list(steps)):
        say(f"- {step.title}")
        step.undo()
