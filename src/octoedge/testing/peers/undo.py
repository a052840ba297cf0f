"""Taking a cell down: every step is tried, whatever became of those before it."""

from __future__ import annotations

from collections.abc import Callable

from octoedge.errors import InstallError, OctoedgeError


def each(*steps: Callable[[], object]) -> None:
    """Take all of them. Raises `InstallError` with what went wrong, at the end."""
    problems = []
    for step in steps:
        try:
            step()
        except (OctoedgeError, OSError) as problem:
            problems.append(str(problem))
    if problems:
        raise InstallError("; ".join(problems))
