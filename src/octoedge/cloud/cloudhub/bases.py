"""What nodes are known to hold, as bytes: the bases of deltas, shared by all sessions and kept over their ends.

    confirmed(item) → kept · delta(item, version that the node has) → what to send instead, or nothing

A thousand nodes that hold the same ConfigMap hold one base here, and its delta is computed once. Nothing depends on it:
what was forgotten (too much, or CloudCore was started anew) goes whole.
"""

from __future__ import annotations

from collections import OrderedDict

from octoedge.protocol import deltas
from octoedge.protocol.delivery import Item

_MOST_BYTES = 16 * 1024 * 1024
"""Of all bases together; most are the very bytes that the copies of the API's objects consist of."""
_MOST_MADE_BYTES = 4 * 1024 * 1024
"""Of all deltas together that are remembered for the next node."""
_EACH = 512
"""Bytes that a remembered delta takes beside its text, about; also where it was found not to be worth it."""

_Made = tuple[str, int, str]
"""uid, version of the base, version of the whole"""


class Bases:
    """The bases of one CloudCore."""

    def __init__(self, most: int = _MOST_BYTES, most_made: int = _MOST_MADE_BYTES) -> None:
        self._most = most
        self._most_made = most_made
        self._held: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._size = 0
        self._made: OrderedDict[_Made, bytes | None] = OrderedDict()
        self._made_size = 0

    @property
    def size(self) -> int:
        """How many bytes are held."""
        return self._size

    def confirmed(self, item: Item) -> None:
        """A node has stored the item."""
        body, key = item.payload.body, (item.uid, item.version)
        if item.deletes or not deltas.LEAST_BYTES <= len(body) <= self._most // 4:
            return
        self._size += len(body) - len(self._held.pop(key, b""))
        self._held[key] = body
        while self._size > self._most:
            _, oldest = self._held.popitem(last=False)
            self._size -= len(oldest)

    def delta(self, item: Item, version: int) -> bytes | None:
        """The item for a node that has its object in this version; None: it goes whole."""
        base = self._held.get((item.uid, version))
        if base is None or item.deletes:
            return None
        key = (item.uid, version, item.payload.version)
        if key in self._made:
            return self._made[key]
        made = deltas.make(base, item.payload.body)
        self._remember(key, made)
        return made

    def _remember(self, key: _Made, made: bytes | None) -> None:
        self._made[key] = made
        self._made_size += _cost(made)
        while self._made_size > self._most_made:
            _, oldest = self._made.popitem(last=False)
            self._made_size -= _cost(oldest)


def _cost(made: bytes | None) -> int:
    return len(made or b"") + _EACH
