"""Hands the ends of containers' logs to a cloud that wants to keep them: slowly, and only what is new.

Begins some seconds after a tunnel has opened, with the last bytes of every log; then follows what is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from octoedge.edge.ports import LogEnds, LogKey, LogMark
from octoedge.protocol.tunnel import Kind, LogEnd, encode, encode_log_end

FIRST_SECONDS = 10.0
"""A link that comes and goes is not loaded with this too."""
BYTES_PER_SECOND = 64 * 1024
"""Before compression; people's streams share the link."""
MOST = 256 * 1024
"""Bytes of one log, whatever the cloud asks for."""


class Tails:
    """What one tunnel has handed over."""

    def __init__(self, ends: LogEnds, seconds: float, most: int) -> None:
        self._ends = ends
        self._seconds = seconds
        self._most = min(most, MOST)
        self._marks: dict[LogKey, LogMark] = {}
        self.bytes = 0
        """Bytes handed over, before compression."""

    async def run(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand over until cancelled; raises what `send` raises."""
        await asyncio.sleep(min(FIRST_SECONDS, self._seconds))
        while True:
            keys = self._ends.log_keys()
            for key in keys:
                await self._hand_over(key, send)
            self._marks = {key: mark for key, mark in self._marks.items() if key in set(keys)}
            await asyncio.sleep(self._seconds)

    async def _hand_over(self, key: LogKey, send: Callable[[bytes], Awaitable[None]]) -> None:
        news = self._ends.log_news(key, self._marks.get(key), self._most)
        if news is None:
            return
        end = LogEnd(key.namespace, key.pod, key.uid, key.container, news.whole, news.text)
        await send(encode(0, Kind.LOG_END, encode_log_end(end)))
        self._marks[key] = news.mark
        self.bytes += len(news.text)
        await asyncio.sleep(len(news.text) / BYTES_PER_SECOND)
