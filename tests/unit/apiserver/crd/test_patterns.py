"""Patterns against Python's own engine, and against those that would hang it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.apiserver.crd.budget import Budget, TooCostly
from octoedge.apiserver.crd.pattern_syntax import PatternError
from octoedge.apiserver.crd.patterns import Pattern

ATOMS = ["a", "b", ".", "[ab]", "[^a]", r"\w", r"\d", r"\b", "^", r"\.", "[a-c-]", "(?:)", r"\x61", "-"]


def joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeated = st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,}", "*?"]))
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        repeated.map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        inner.map(lambda text: f"({text})"),
    )


@given(st.recursive(st.sampled_from(ATOMS), joined, max_leaves=12), st.text("ab\n -1.", max_size=8))
def test_it_finds_what_pythons_engine_finds(pattern: str, text: str) -> None:
    assert Pattern(pattern).search(text, Budget()) == bool(re.search(pattern, text, re.ASCII))


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("^v[0-9]+$", "v12", "v12\n"),
        (r"^\d{1,3}$", "123", "1234"),
        ("(?i)^abc$", "aBC", "abd"),
        ("(?i:a)b", "Ab", "aB"),
        ("(?m)^b$", "a\nb\nc", "ab"),
        ("(?s)a.c", "a\nc", "ac"),
        ("a.c", "abc", "a\nc"),
        (r"^[[:alpha:]_]+$", "ab_", "a1"),
        (r"^\p{Lu}\pL*$", "Ärger", "ärger"),
        (r"^\Qa.b\E$", "a.b", "axb"),
        (r"^(?P<name>x)+\z", "xx", "xy"),
        ("^[]a]+$", "a]", "b"),
        ("^a{,2}$", "a{,2}", "aa"),
        ("^(|a)b$", "b", "c"),
        (r"a\Bb", "ab", "a b"),
        (r"^\B$", "", "a"),
        (r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)$", "a-b.c", "a-.c"),
    ],
)
def test_re2_syntax(pattern: str, yes: str, no: str) -> None:
    assert Pattern(pattern).search(yes, Budget())
    assert not Pattern(pattern).search(no, Budget())


@pytest.mark.parametrize(
    "pattern",
    [
        "(a", "a)", "[a", "a**", "*a", r"(?=a)", r"(?<!a)b", r"(a)\1", "a\\", "[z-a]", r"\pX", "a{1001}",
        "a{3,2}", r"\xZZ", "(" * 500 + ")" * 500, "a" * 20_000, "((a{1000}){1000}){1000}", r"[[:nope:]]", "(?z)a",
    ],
)  # fmt: skip
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        Pattern(pattern)


@pytest.mark.parametrize("pattern", ["(a+)+$", "^(a|a)*$", "(a|aa)+$", "(.*a){12}$", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_bombs_cost_a_little_for_each_character(pattern: str) -> None:
    budget = Budget(2_000_000)
    assert not Pattern(pattern).search("a" * 20_000 + "!", budget)


def test_what_costs_too_much_ends() -> None:
    with pytest.raises(TooCostly):
        Pattern("(.{0,900}x){1,5}y$").search("x" * 100_000, Budget(200_000))


def test_a_pattern_forgets_what_it_cannot_keep() -> None:
    pattern = Pattern("(.{0,900}x){1,5}y$")
    with pytest.raises(TooCostly):
        pattern.search("".join(map(chr, range(50, 30_000))), Budget())
    assert len(pattern._known) <= 10_000
