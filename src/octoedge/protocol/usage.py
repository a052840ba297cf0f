"""What a channel has carried, by cause: both ends count both directions, without I/O or clock.

The bytes are those of WebSocket frames. What lies below costs about `BELOW` bytes more for each message: TLS, TCP and
IP headers, and half of one of TCP's own acknowledgements: nearly every message is answered at once, and the packet with
the answer acknowledges the question too.
"""

from __future__ import annotations

import msgspec

from octoedge.protocol.message import Message
from octoedge.protocol.routes import Direction

BELOW = 22 + 52 + 52 // 2
_MAX_CAUSES = 64
"""A peer that makes up kinds of messages does not fill the memory."""
_MASKED, _PLAIN = 4, 0


class Count(msgspec.Struct):
    """Messages and bytes of one cause."""

    messages: int = 0
    size: int = 0


class Usage:
    """The counts of one node."""

    def __init__(self, since: float) -> None:
        self.since = since
        """When counting began, in the clock of whoever counts."""
        self._counts: dict[tuple[Direction, str], Count] = {}

    def count(self, direction: Direction, message: Message, size: int) -> None:
        """A message took `size` bytes on the wire."""
        key = (direction, cause(direction, message))
        if key not in self._counts and len(self._counts) >= _MAX_CAUSES:
            key = (direction, "other")
        count = self._counts.setdefault(key, Count())
        count.messages += 1
        count.size += size

    def rows(self) -> list[dict[str, str | int]]:
        """Every cause, the largest first."""
        ordered = sorted(self._counts.items(), key=lambda item: -item[1].size)
        return [
            {"direction": direction.name.lower(), "cause": name, "messages": count.messages, "bytes": count.size}
            for (direction, name), count in ordered
        ]

    def total(self, direction: Direction) -> Count:
        """All of one direction."""
        counts = [count for (of, _), count in self._counts.items() if of is direction]
        return Count(sum(count.messages for count in counts), sum(count.size for count in counts))


def cause(direction: Direction, message: Message) -> str:
    """What a message is for, in words that a person may compare."""
    operation = message.route.operation
    parts = message.route.resource.split("/", 4)
    kind = (parts[1] if len(parts) in (2, 3) else parts[0])[:40]
    if operation == "keepalive" or (kind == "node" and len(parts) == 1):
        return "heartbeat"
    if operation in ("response", "error"):
        return f"acknowledgement {kind}" if direction is Direction.UP else f"answer {kind}"
    return f"{operation[:40]} {kind}"


def framed(size: int, direction: Direction) -> int:
    """Bytes of a WebSocket frame with so much in it; an edge masks what it sends."""
    length = 2 if size < 126 else 4 if size < 65536 else 10
    return length + (_MASKED if direction is Direction.UP else _PLAIN) + size
