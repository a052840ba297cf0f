"""What a siege counts by: a ledger complains of each kind of wrong, and of nothing else."""

from __future__ import annotations

import pytest

from octoedge.testing.ledger import Copies, Ledger, Pair

ONE, TWO, THREE = (1, "a"), (2, "b"), (3, "c")


@pytest.fixture
def ledger() -> Ledger:
    """One and three are answered, two is not."""
    made = Ledger()
    for pair in (ONE, ONE, TWO, THREE):
        made.say(*pair)
    made.answer(0)
    made.answer(2)
    return made


@pytest.mark.parametrize("stored", [[ONE, TWO, THREE], [ONE, THREE], [ONE, THREE, TWO]])
def test_what_was_never_answered_may_be_stored_or_not(ledger: Ledger, stored: list[Pair]) -> None:
    assert (len(ledger), ledger.heard) == (3, 2)
    assert list(ledger.complaints(stored)) == []


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ([ONE], "1 answered values are not stored"),
        ([ONE, ONE, THREE], "stored more often than they were said"),
        ([ONE, TWO, TWO, THREE], "stored more often than they were said"),
        ([ONE, (9, "z"), THREE], "never said"),
        ([THREE, ONE], "not in the order"),
    ],
)
def test_each_kind_of_wrong_is_told(ledger: Ledger, stored: list[Pair], words: str) -> None:
    (told,) = ledger.complaints(stored)
    assert words in told


@pytest.mark.parametrize(
    ("got", "words"),
    [
        ([ONE, TWO, THREE], ""),
        ([ONE, TWO, ONE, TWO, THREE], ""),
        ([ONE, THREE, TWO], "was left out"),
        ([ONE, TWO], "1 values were not sent on"),
        ([ONE, (9, "z")], "not stored"),
    ],
)
def test_copies_come_at_least_once_and_in_order(got: list[Pair], words: str) -> None:
    copies = Copies()
    copies.got = got
    told = list(copies.complaints([ONE, TWO, THREE]))
    assert bool(told) == bool(words)
    assert not words or words in told[0]
