"""A report in pieces that EdgeCore takes: so many values, so many bytes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from octoedge.dmi import messages as m

MOST = 1000
"""Values in one report; EdgeCore of ours takes no more."""
BYTES = 1 << 20
"""Of one report; gRPC takes four times that."""


def pieces(twins: Iterable[m.Twin]) -> Iterator[list[m.Twin]]:
    """In their order; a value that is larger by itself is a piece of its own."""
    piece: list[m.Twin] = []
    room = BYTES
    for twin in twins:
        size = _size(twin)
        if piece and (len(piece) == MOST or size > room):
            yield piece
            piece, room = [], BYTES
        piece.append(twin)
        room -= size
    if piece:
        yield piece


def _size(twin: m.Twin) -> int:
    """No less than it takes on the wire."""
    texts = [twin.property_name]
    for part in (twin.observed_desired, twin.reported):
        texts.append(part.value)
        for key, note in part.metadata.items():
            texts += (key, note)
    return sum(len(text) * 4 + 8 for text in texts) + 24
