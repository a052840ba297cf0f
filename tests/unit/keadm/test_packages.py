"""Only what is missing is asked for, never with a removal."""

from __future__ import annotations

from pathlib import Path

from octoedge.keadm import packages


def test_nothing_is_planned_where_everything_is_there() -> None:
    assert set(packages.missing()) <= set(packages.PRESENT)


def test_fresh_lists_leave_the_machines_own_alone() -> None:
    assert packages.Plan(("runc",)).options == ()
    words = packages.Plan(("runc",), Path("/tmp/lists")).options
    assert words[::2] == ("-o", "-o", "-o")
    assert "Dir::State::lists=/tmp/lists" in words


def test_a_package_that_does_not_exist_is_a_problem_with_apts_words() -> None:
    words = packages.simulate(packages.Plan(("octoedge-no-such-package",)))
    assert "octoedge-no-such-package" in words
