"""The soft limit of open files is raised to the hard one, and to no more."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from octoedge.runtime.openfiles import MOST, allow_many


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_low_limit_is_raised(limits: tuple[int, int]) -> None:
    _, hard = limits
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    assert allow_many() == wanted
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (wanted, hard)


def test_a_limit_that_is_high_enough_stays(limits: tuple[int, int]) -> None:
    first = allow_many()
    assert allow_many() == first
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == limits[1]
