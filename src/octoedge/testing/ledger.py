"""What was said of streams, by who knows it independently: the other side of an audit.

    say ─► (EdgeCore, the cloud …) ─► heard            judged: what the store has against what was said and answered

What was answered must be stored, once and in its order. What was said but never answered may be stored once, or not:
nobody can know whether it was heard before its hearer was killed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

Pair = tuple[int, str]
"""Time (ms) and text of a value."""


class Ledger:
    """One stream."""

    def __init__(self) -> None:
        self._said: list[Pair] = []
        self._heard: list[bool] = []

    def __len__(self) -> int:
        return len(self._said)

    @property
    def heard(self) -> int:
        """How many values were answered."""
        return sum(self._heard)

    def say(self, time: int, text: str) -> int:
        """A value is said, or said again; its place."""
        if not self._said or self._said[-1] != (time, text):
            self._said.append((time, text))
            self._heard.append(False)
        return len(self._said) - 1

    def answer(self, place: int) -> None:
        """The value at this place was answered for."""
        self._heard[place] = True

    def complaints(self, stored: Sequence[Pair]) -> Iterator[str]:
        """What is wrong with what is stored, in the order of its numbers; the first of each kind."""
        unsure = {pair for pair, heard in zip(self._said, self._heard, strict=True) if not heard}
        sure = [pair for pair, heard in zip(self._said, self._heard, strict=True) if heard]
        counts, said = Counter(stored), Counter(self._said)
        twice = [pair for pair in counts if counts[pair] > max(1, said[pair])]
        if twice:
            yield f"{len(twice)} values are stored more often than they were said, the first: {twice[0]}"
        unsaid = [pair for pair in counts if pair not in said]
        if unsaid:
            yield f"{len(unsaid)} stored values were never said, the first: {unsaid[0]}"
        missing = [pair for pair in sure if pair not in counts]
        if missing:
            yield f"{len(missing)} answered values are not stored, the first: {missing[0]}, the last: {missing[-1]}"
        if not (twice or unsaid or missing) and [pair for pair in stored if pair not in unsure] != sure:
            yield "all is stored, but not in the order in which it was said"


class Copies:
    """What another system got of one stream: each value at least once, and none before its predecessor."""

    def __init__(self) -> None:
        self.got: list[Pair] = []

    def complaints(self, stored: Sequence[Pair]) -> Iterator[str]:
        """What is wrong with it, measured by what is stored, in the order of its numbers."""
        place = {pair: at for at, pair in enumerate(stored)}
        following = 0
        for pair in self.got:
            at = place.get(pair)
            if at is None:
                yield f"{pair} was sent on, but is not stored"
                return
            if at > following:
                yield f"{stored[following]} was left out: {pair} came before it"
                return
            following = max(following, at + 1)
        if following < len(stored):
            yield f"{len(stored) - following} values were not sent on, the first: {stored[following]}"
