"""One parse, one format, inverses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import ResourceError
from octoedge.protocol.resource import MAX_LENGTH, Resource, parse

PART = st.text(min_size=1, max_size=60).filter(lambda text: "/" not in text)


@given(PART, PART, PART | st.just(""))
def test_parsing_is_the_inverse_of_formatting(namespace: str, kind: str, name: str) -> None:
    resource = Resource(namespace, kind, name)
    assert parse(str(resource)) == resource


@given(st.text(max_size=80))
def test_formatting_is_the_inverse_of_parsing(text: str) -> None:
    try:
        resource = parse(text)
    except ResourceError:
        assert text.count("/") not in (1, 2) or "" in text.split("/")
        return
    assert str(resource) == text


def test_a_name_that_contains_a_word_with_a_meaning_has_none() -> None:
    assert parse("default/pod/membership") == Resource("default", "pod", "membership")


def test_the_namespace_null_is_the_cluster() -> None:
    assert parse("null/node/edge-1").cluster_scoped
    assert not parse("default/node/edge-1").cluster_scoped


@pytest.mark.parametrize("text", ["", "node", "a/", "/a", "a//b", "a/b/c/d", "a/b/", "x" * MAX_LENGTH + "/a/b"])
def test_what_is_no_resource_is_refused(text: str) -> None:
    with pytest.raises(ResourceError):
        parse(text)
