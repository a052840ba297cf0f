"""The decisions on what the cloud sends, exhaustively over small numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.api.meta import ObjectMeta
from octoedge.edge.metamanager.verdict import Delete, Put, on_delete, on_put

metas = st.builds(
    ObjectMeta,
    name=st.just("web"),
    uid=st.sampled_from(["", "u1", "u2"]),
    resource_version=st.sampled_from(["", "1", "2", "10", "odd"]),
    creation_timestamp=st.sampled_from([None, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
)


@pytest.mark.parametrize(
    ("stored", "sent", "verdict"),
    [
        (None, ("u1", "5"), Put.STORE),
        (("u1", "5"), ("u1", "6"), Put.STORE),
        (("u1", "9"), ("u1", "10"), Put.STORE),  # numbers, not texts
        (("u1", "5"), ("u1", "5"), Put.SAME),
        (("u1", "6"), ("u1", "5"), Put.STALE),
        (("u1", "5"), ("u1", ""), Put.STORE),
        (("u1", "5"), ("u2", "6"), Put.REPLACE),
        (("u1", "6"), ("u2", "5"), Put.STALE),
        (("u1", "6"), ("u2", ""), Put.REPLACE),
    ],
)
def test_puts(stored: tuple[str, str] | None, sent: tuple[str, str], verdict: Put) -> None:
    before = ObjectMeta(uid=stored[0], resource_version=stored[1]) if stored else None
    assert on_put(before, ObjectMeta(uid=sent[0], resource_version=sent[1])) is verdict


def test_an_object_from_another_cluster_counts_by_its_age() -> None:
    """A cloud that was set up anew counts its versions from the beginning."""
    old = ObjectMeta(uid="u1", resource_version="90000", creation_timestamp="2026-01-01T00:00:00Z")
    new = ObjectMeta(uid="u2", resource_version="17", creation_timestamp="2026-02-01T00:00:00Z")
    assert on_put(old, new) is Put.REPLACE
    assert on_put(new, old) is Put.REPLACE  # higher version: the cloud must know


@given(metas, metas)
def test_what_has_a_version_is_not_stored_twice(stored: ObjectMeta, sent: ObjectMeta) -> None:
    if on_put(stored, sent) in (Put.STORE, Put.REPLACE) and sent.version:
        assert on_put(sent, sent) is Put.SAME


@pytest.mark.parametrize(
    ("stored", "uid", "verdict"),
    [
        (None, "u1", Delete.ABSENT),
        (None, "", Delete.ABSENT),
        ("u1", "u1", Delete.REMOVE),
        ("u1", "u2", Delete.OTHER),
        ("u1", "", Delete.ASK),
        ("", "u2", Delete.REMOVE),
    ],
)
def test_deletes(stored: str | None, uid: str, verdict: Delete) -> None:
    assert on_delete(None if stored is None else ObjectMeta(uid=stored), uid) is verdict
