"""Connections that are passed on raw, and the outcome that is added when they break off."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.transport.outcome import Watched, WatchedAnswer
from octoedge.transport.spdy import Data, Framer

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n"


@given(st.lists(st.integers(1, 40), max_size=8), st.booleans())
def test_raw_spdy_is_only_watched_for_its_outcome(cuts: list[int], told: bool) -> None:
    node = Framer()
    wire = node.syn_reply(1, {}) + node.data(5, b"output") + (node.data(1, b"{}", fin=True) if told else b"")
    watched = Watched()
    for begin, end in itertools.pairwise(sorted({0, len(wire), *(min(cut, len(wire)) for cut in cuts)})):
        watched.see(wire[begin:end])
    last = watched.broken("cut")
    if told:
        assert last == b""
    else:
        (event,) = node.feed(last)
        assert isinstance(event, Data)
        assert (event.stream, event.fin, msgspec.json.decode(event.data)["message"]) == (1, True, "cut")


def test_a_frame_that_was_cut_is_left_as_it_is() -> None:
    watched = Watched()
    watched.see(Framer.data(5, b"output")[:-1])
    assert watched.broken("cut") == b""
    nonsense = Watched()
    nonsense.see(b"\x80\x02 this is no SPDY/3")
    assert nonsense.broken("cut") == b""


@given(st.lists(st.integers(1, 200), max_size=8), st.booleans())
def test_an_answer_is_watched_behind_its_head_however_it_is_cut(cuts: list[int], told: bool) -> None:
    node = Framer()
    wire = HEAD + node.syn_reply(1, {}) + node.data(5, b"out") + (node.data(1, b"{}", fin=True) if told else b"")
    watched = WatchedAnswer()
    for begin, end in itertools.pairwise(sorted({0, len(wire), *(min(cut, len(wire)) for cut in cuts)})):
        watched.see(wire[begin:end])
    assert (watched.broken("cut") == b"") is told


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\nno",
        HEAD.replace(b"v4.channel.k8s.io", b"portforward.k8s.io"),
        HEAD[:-2],
        bytes(100_000),
        b"",
    ],
)
def test_to_everything_else_nothing_is_added(answer: bytes) -> None:
    watched = WatchedAnswer()
    watched.see(answer)
    assert watched.broken("cut") == b""


@given(st.lists(st.binary(max_size=50)))
def test_any_bytes_may_be_watched(pieces: list[bytes]) -> None:
    watched = WatchedAnswer()
    watched.see(HEAD)
    for piece in pieces:
        watched.see(piece)
    watched.broken("cut")
