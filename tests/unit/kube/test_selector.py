"""Selectors: what is written is what is matched, and nonsense is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import ApiError
from octoedge.kube.selector import EVERYTHING, Requirement, Selector, from_label_selector, parse_fields, parse_labels

LABELS = {"app": "web", "tier": "1", "gpu": ""}
NAMES = st.from_regex(r"[a-z]([a-z0-9.-]{0,10}[a-z0-9])?", fullmatch=True)
DOMAINS = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
VALUES = st.from_regex(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,10}[A-Za-z0-9])?)?", fullmatch=True)
SETS = st.frozensets(VALUES, min_size=1, max_size=3)
KEYS = st.one_of(NAMES.filter(lambda name: name not in ("in", "notin")), st.builds("{}.io/{}".format, DOMAINS, NAMES))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("  ", True),
        ("app=web", True),
        ("app==web,tier!=2", True),
        ("app=db", False),
        ("missing!=x", True),
        ("app in (db, web)", True),
        ("app notin (db,web)", False),
        ("missing notin (a)", True),
        ("gpu", True),
        ("gpu=", True),
        ("!gpu", False),
        ("!missing , app", True),
        ("tier>0,tier<2", True),
        ("app>0", False),
    ],
)
def test_labels(text: str, expected: bool) -> None:
    assert parse_labels(text).matches(LABELS) is expected


@pytest.mark.parametrize(
    "text", ["a b", "a=b,", ",a", "a in b", "a in (b", "=b", "a=b c", "-x", "a>b", "a/b/c", "a=(b)", "a" * 70_000]
)
def test_bad_labels_are_refused(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_labels(text)
    assert caught.value.code == 400


def test_fields() -> None:
    fields = {"spec.nodeName": "edge-1", "status.phase": "Running", "metadata.name": "a,b=c"}
    assert parse_fields("spec.nodeName=edge-1,status.phase!=Failed,status.phase!=Succeeded").matches(fields)
    assert not parse_fields("spec.nodeName==edge-2").matches(fields)
    assert parse_fields(r"metadata.name=a\,b\=c").matches(fields)
    assert parse_fields("spec.nodeName=").matches({"spec.nodeName": ""})
    assert parse_fields("metadata.name=x").exactly("metadata.name") == "x"
    with pytest.raises(ApiError):
        parse_fields("nonsense")


def test_label_selectors_of_objects() -> None:
    selector = {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "Gt", "values": ["0"]}]}
    assert from_label_selector(selector).matches(LABELS)
    assert from_label_selector(None) == EVERYTHING
    with pytest.raises(ApiError):
        from_label_selector({"matchExpressions": [{"key": "a", "operator": "Near"}]})


@st.composite
def requirements(draw: st.DrawFn) -> Requirement:
    key = draw(KEYS)
    operator = draw(st.sampled_from(["in", "notin", "exists", "absent", "gt", "lt"]))
    if operator in ("exists", "absent"):
        return Requirement(key, operator)
    if operator in ("gt", "lt"):
        return Requirement(key, operator, frozenset({str(draw(st.integers(0, 1000)))}))
    return Requirement(key, operator, draw(SETS))


@given(st.lists(requirements(), max_size=4), st.dictionaries(KEYS, VALUES, max_size=4))
def test_writing_and_reading_a_selector_gives_the_same_one(parts: list[Requirement], labels: dict[str, str]) -> None:
    selector = Selector(tuple(parts))
    read = parse_labels(str(selector))
    assert read == selector
    assert read.matches(labels) == all(part.matches(labels) for part in parts)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_labels, parse_fields):
        with contextlib.suppress(ApiError):
            parse(text)
