"""How much work one request may cause: every step of a validation or of a pattern's search spends from one budget."""

from __future__ import annotations

STEPS = 1_000_000
"""About a second of work; honest objects need some thousands of steps."""


class TooCostly(Exception):
    """The budget is spent: the object, or its schema, asks for more work than a request may cause."""


class Budget:
    """What is left."""

    def __init__(self, steps: int = STEPS) -> None:
        self._left = steps

    def spend(self, steps: int = 1) -> None:
        """Take steps; `TooCostly` when there are none left."""
        self._left -= steps
        if self._left < 0:
            raise TooCostly("checking it takes more work than one request may cause")
