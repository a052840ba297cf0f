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
_MOST_MADE = 256
"""Deltas that are remembered for the next node."""

_Made = tuple[str, int, str]
"""uid, version of the base, version of the whole"""


class Bases:
    """The bases of one CloudCore."""

    def __init__(self, most: int = _MOST_BYTES) -> None:
        self._most = most
        self._held: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._size = 0
        self._made: OrderedDict[_Made, bytes | None] = OrderedDict()

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
        if key not in self._made:
            self._made[key] = deltas.make(base, item.payload.body)
            if len(self._made) > _MOST_MADE:
                self._made.popitem(last=False)
        return self._made[key]
