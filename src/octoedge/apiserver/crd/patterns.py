"""Patterns that cannot hang the server: searched in time linear to the text, whatever the pattern looks like.

    pattern ── pattern_syntax ──► tree ──► program of a few kinds of steps ──► states, made as texts need them

Python's own `re` goes back and tries again, and takes years over `(a+)+$`; this walks all possibilities at once, as RE2
does. What a search costs is taken from the request's budget.
"""

from __future__ import annotations

from dataclasses import dataclass

from octoedge.apiserver.crd.budget import Budget
from octoedge.apiserver.crd.pattern_syntax import Chars, Choice, Node, PatternError, Place, Repeat, Sequence, parse

MAX_PROGRAM = 10_000
_MAX_KNOWN = 10_000
"""The weight of the steps that are remembered; beyond it all are forgotten and found again."""

State = tuple[frozenset[int], str]
"""Where the program may stand, and what came before: nothing, a line's end, a word, something else."""
_MATCHED: State = (frozenset(), "matched")


@dataclass(slots=True)
class _Step:
    """One step of the program: `char` reads, `place` asks, `split` goes two ways, `match` ends."""

    kind: str
    then: int = -1
    other: int = -1
    chars: Chars | None = None
    condition: str = ""


class Pattern:
    """A compiled pattern."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._program: list[_Step] = []
        self._start = self._emit(parse(text), self._add(_Step("match")))
        self._known: dict[tuple[State, str], State] = {}
        self._weight = 0

    def search(self, text: str, budget: Budget) -> bool:
        """Whether the pattern matches somewhere in the text."""
        state: State = (frozenset((self._start,)), "")
        for char in text:
            state = self._next(state, char, budget)
            if state is _MATCHED:
                return True
        return self._next(state, "", budget) is _MATCHED

    def _next(self, state: State, char: str, budget: Budget) -> State:
        budget.spend()
        found = self._known.get((state, char))
        if found is None:
            found = self._step(state, char, budget)
            self._weight += 1 + len(found[0])
            if self._weight > _MAX_KNOWN:
                self._known.clear()
                self._weight = 1 + len(found[0])
            self._known[state, char] = found
        return found

    def _step(self, state: State, char: str, budget: Budget) -> State:
        """The state after one more character; an empty one stands for the end of the text."""
        places, before = state
        seen: set[int] = set()
        todo = list(places)
        after: set[int] = {self._start}
        while todo:
            at = todo.pop()
            if at in seen:
                continue
            seen.add(at)
            step = self._program[at]
            if step.kind == "match":
                return _MATCHED
            if step.kind == "split":
                todo += (step.then, step.other)
            elif step.kind == "place":
                todo += (step.then,) if _holds(step.condition, before, char) else ()
            elif char and step.chars is not None and step.chars.has(char):
                after.add(step.then)
        budget.spend(len(seen))
        return frozenset(after), _class(char)

    def _add(self, step: _Step) -> int:
        if len(self._program) >= MAX_PROGRAM:
            raise PatternError("expression too large")
        self._program.append(step)
        return len(self._program) - 1

    def _emit(self, node: Node, then: int) -> int:
        """Append the steps of a node that go on to `then`; where they begin."""
        if isinstance(node, Chars):
            return self._add(_Step("char", then, chars=node))
        if isinstance(node, Place):
            return self._add(_Step("place", then, condition=node.condition))
        if isinstance(node, Sequence):
            for part in reversed(node.parts):
                then = self._emit(part, then)
            return then
        if isinstance(node, Choice):
            begin = self._emit(node.parts[-1], then)
            for part in reversed(node.parts[:-1]):
                begin = self._add(_Step("split", self._emit(part, then), begin))
            return begin
        return self._emit_repeat(node, then)

    def _emit_repeat(self, node: Repeat, then: int) -> int:
        if node.most is None:
            loop = self._add(_Step("split", other=then))
            self._program[loop].then = self._emit(node.part, loop)
            begin = loop
        else:
            begin = then
            for _ in range(node.most - node.least):
                begin = self._add(_Step("split", self._emit(node.part, begin), then))
        for _ in range(node.least):
            begin = self._emit(node.part, begin)
        return begin


def _class(char: str) -> str:
    if not char:
        return ""
    if char == "\n":
        return "line"
    return "word" if char == "_" or (char.isascii() and char.isalnum()) else "other"


def _holds(condition: str, before: str, char: str) -> bool:
    if condition == "bot":
        return before == ""
    if condition == "eot":
        return char == ""
    if condition == "bol":
        return before in ("", "line")
    if condition == "eol":
        return char in ("", "\n")
    return ((before == "word") != (_class(char) == "word")) == (condition == "word")
