"""A Pod without a node, and when it is tried again: time is an argument. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from octoedge.apiserver.scheduling.placing.pod import Key, Wants

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 10.0
LOOK_AGAIN = 300.0
"""Seconds after which a Pod is tried again although nothing is known to have changed."""

State = tuple[int, int]
"""(what may help anybody, Pods that were placed), counted"""


@dataclass(slots=True)
class Waiting:
    """A Pod without a node."""

    key: Key
    uid: str
    pod: Wants | None
    """None when it cannot be understood; `why` says what is wrong with it."""
    why: str = ""
    said: str = ""
    tries: int = 0
    seen: tuple[int, int] = (-1, -1)
    """What the state of the site was when it was tried last."""
    not_before: float = 0.0
    at_last: float = float("inf")
    """When to try again in any case."""

    def order(self) -> tuple[Any, ...]:
        """The most important first, then who has waited for longest."""
        return (-self.pod.priority, self.pod.created, self.key) if self.pod is not None else (0, "", self.key)

    def is_due(self, state: State, now: float) -> bool:
        """Whether it is to be tried now."""
        return now >= self.wakes(state)

    def tried(self, state: State, now: float) -> None:
        """It found no node."""
        self.seen = state
        self.not_before = now + min(FIRST_PAUSE * 2.0 ** min(self.tries, 10), LONGEST_PAUSE)
        self.at_last = now + LOOK_AGAIN
        self.tries += 1

    def wakes(self, state: State) -> float:
        """When it is due next, if nothing happens."""
        choosy = self.pod is not None and (self.pod.near or self.pod.constraints)
        is_news = self.seen != state if choosy else self.seen[0] != state[0]
        return min(self.not_before, self.at_last) if is_news else self.at_last
