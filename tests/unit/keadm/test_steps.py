"""Steps are done once, in order, and taken back in reverse."""

from __future__ import annotations

import pytest

from octoedge.errors import InstallError
from octoedge.keadm.steps import Step, Written, advance, retreat


class World:
    """Things that are there or not, and what was done to them."""

    def __init__(self, *there: str) -> None:
        self.there = set(there)
        self.history: list[str] = []
        self.said: list[str] = []

    def step(self, name: str) -> Step:
        return Written(name, lambda: name in self.there, lambda: self._add(name), lambda: self._remove(name))

    def _add(self, name: str) -> str:
        if name == "cursed":
            raise InstallError("it is cursed")
        self.there.add(name)
        self.history.append(f"+{name}")
        return f"{name} made"

    def _remove(self, name: str) -> None:
        self.there.discard(name)
        self.history.append(f"-{name}")


def test_only_what_is_missing_is_done_in_order() -> None:
    world = World("b")
    steps = [world.step(name) for name in "abc"]
    assert advance(steps, world.said.append) == 2
    assert world.history == ["+a", "+c"]
    assert advance(steps, world.said.append) == 0
    assert world.history == ["+a", "+c"]


def test_progress_is_visible() -> None:
    world = World("b")
    advance([world.step("a"), world.step("b")], world.said.append)
    assert world.said == ["[1/2] a …", "      a made", "[2/2] b: as it should be"]


def test_a_failure_ends_the_way_and_the_next_try_goes_on_from_there() -> None:
    world = World()
    steps = [world.step(name) for name in ("a", "cursed", "c")]
    with pytest.raises(InstallError, match="cursed"):
        advance(steps, world.said.append)
    assert world.history == ["+a"]
    world.there.add("cursed")
    assert advance(steps, world.said.append) == 1


def test_the_way_back_is_reversed_and_fine_with_what_is_not_there() -> None:
    world = World("a")
    retreat([world.step(name) for name in "ab"], world.said.append)
    assert world.history == ["-b", "-a"]
    assert world.there == set()
