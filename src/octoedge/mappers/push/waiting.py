"""Values that wait for one server. Pure.

    put ─► a queue for each property ─► take: of each property in turn its oldest ─► sent, or given back to its place

When too many wait, the oldest of the property that has a new one is dropped: of thousands of properties before a server
that is too slow each has its turn, and the newest value of each is never dropped.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

from octoedge.mappers.push.sending import Sample


class Waiting:
    """Up to `limit` values, or two of each property where those are more."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._streams: OrderedDict[tuple[str, str, str], deque[Sample]] = OrderedDict()
        """By the next turn; none is empty."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, sample: Sample) -> int:
        """A new value; how many are dropped for it."""
        queue = self._streams.setdefault(sample.stream, deque())
        queue.append(sample)
        if self._full and len(queue) > 1:
            queue.popleft()
            return 1
        self._count += 1
        return 0

    def take(self, most: int) -> list[Sample]:
        """Those whose turn it is."""
        taken: list[Sample] = []
        while self._streams and len(taken) < most:
            stream, queue = self._streams.popitem(last=False)
            taken.append(queue.popleft())
            if queue:
                self._streams[stream] = queue
        self._count -= len(taken)
        return taken

    def give_back(self, samples: Sequence[Sample]) -> int:
        """What was taken and not sent, in its order, is next; how many are dropped for newer ones that came since."""
        dropped = 0
        for sample in reversed(samples):
            queue = self._streams.setdefault(sample.stream, deque())
            self._streams.move_to_end(sample.stream, last=False)
            if self._full and queue:
                dropped += 1
                continue
            queue.appendleft(sample)
            self._count += 1
        return dropped

    @property
    def _full(self) -> bool:
        return self._count >= max(self._limit, 2 * len(self._streams))
