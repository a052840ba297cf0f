"""Where what the channel's connections carry can be heard: one `Tap` for a daemon, made with it.

PackedConnection ──heard──► Tap ──► listeners (mostly none: then one comparison for each message is all it costs)
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import msgspec

from octoedge.protocol.routes import Direction
from octoedge.transport.connection import Peer


class Way(msgspec.Struct, frozen=True):
    """A connection that is open."""

    number: int
    peer: Peer
    said: Mapping[str, str]
    """The headers of this end's half of the handshake."""


class Listener(Protocol):
    """Hears; must return at once and raise nothing."""

    def opened(self, way: Way) -> None:
        """A connection has begun."""
        ...

    def heard(self, way: Way, direction: Direction, data: bytes, size: int) -> None:
        """A message, unpacked, that took `size` bytes on the wire."""
        ...

    def closed(self, way: Way) -> None:
        """A connection is over."""
        ...


class Tap:
    """The open connections of a daemon, and who listens."""

    def __init__(self, says: Callable[[Peer], Mapping[str, str]]) -> None:
        """`says` gives the headers of this end's half of the handshake with a peer."""
        self._says = says
        self._numbers = itertools.count(1)
        self._ways: dict[int, Way] = {}
        self.listeners: tuple[Listener, ...] = ()

    @property
    def ways(self) -> list[Way]:
        """The connections that are open."""
        return list(self._ways.values())

    def open(self, peer: Peer) -> Way:
        """A connection has begun; `close` must follow."""
        way = Way(next(self._numbers), peer, self._says(peer))
        self._ways[way.number] = way
        for listener in self.listeners:
            listener.opened(way)
        return way

    def close(self, way: Way) -> None:
        """The connection is over; idempotent."""
        if self._ways.pop(way.number, None) is not None:
            for listener in self.listeners:
                listener.closed(way)

    @contextlib.contextmanager
    def heard_by(self, listener: Listener) -> Iterator[None]:
        """Let `listener` hear."""
        self.listeners = (*self.listeners, listener)
        try:
            yield
        finally:
            self.listeners = tuple(one for one in self.listeners if one is not listener)
