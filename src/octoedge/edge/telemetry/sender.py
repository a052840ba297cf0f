"""Batches on their way: gathered for a moment, sent one after another, settled when the cloud has stored them.

wait for values ─► gather ─► batch ─► ask the cloud ─► settle ─► next batch, at once while more waits
       ▲                                   └── no answer, or refused: back-off, the same again
       └── not connected, or a cloud that keeps no telemetry: all stays, within its limits
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

import msgspec

from octoedge.edge.ports import AgreeingLink
from octoedge.edge.telemetry.outbox import Outbox
from octoedge.errors import ApiError, DeadlineError, MessageError, OfflineError, StoreCorrupt, StoreError
from octoedge.protocol import handshake
from octoedge.protocol import telemetry as wire
from octoedge.protocol.payloads import TelemetryBatch, outcome
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

_ANSWER_SECONDS = 60.0
_ENOUGH = wire.MAX_BATCH // 2
"""Values that are not gathered any longer."""
_TIDY_SECONDS = 60.0
_REFUSED_SECONDS = 300.0
"""Until a stream that the cloud refused is tried again."""


class Sender:
    """Sends what the outbox has."""

    def __init__(self, outbox: Outbox, link: AgreeingLink, gather_seconds: float) -> None:
        self._outbox = outbox
        self._link = link
        self._gather_seconds = gather_seconds
        self._news = asyncio.Event()
        self._backoff = Backoff(first=1.0, limit=60.0)
        self._refused: dict[str, float] = {}
        """Stream → until when (the loop's time) it is left alone."""
        self._said = SaidOnce(log)
        self.state = "waits for the cloud"

    def wake(self) -> None:
        """There are new values."""
        self._news.set()

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tidy(), name="limits of telemetry")
            group.create_task(self._always(), name="batches of telemetry")

    async def _always(self) -> None:
        while True:
            self.state = "waits for the cloud"
            await self._link.until_connected()
            if not self._link.agreed(handshake.TELEMETRY):
                self.state = "this cloud keeps no telemetry: values wait on the node, within their limits"
                self._said.trouble("telemetry", self.state)
                await self._link.until_disconnected()
                continue
            self.state = "sends"
            self._said.over("telemetry", "the cloud takes it")
            await self._while_connected()

    async def _while_connected(self) -> None:
        """Send until the connection is gone."""
        while self._link.connected:
            self._news.clear()
            try:
                sections = await self._outbox.batch(self._left_alone())
                if sections and await self._send(sections):
                    self._backoff.reset()
                    if sum(len(section.column) for section in sections) >= _ENOUGH:
                        continue
            except OfflineError:
                return
            except StoreCorrupt:
                raise
            except (ApiError, DeadlineError, MessageError, StoreError) as error:
                self._said.trouble("batches of telemetry", str(error))
                await asyncio.sleep(self._backoff.next())
                continue
            self._said.over("batches of telemetry", "they are stored")
            await self._until_news()

    async def _send(self, sections: list[wire.Section]) -> bool:
        """Send and settle; whether there may be more at once."""
        reply = await self._link.request(TelemetryBatch(body=wire.encode(sections)), _ANSWER_SECONDS)
        try:
            answer = msgspec.json.decode(outcome(reply.body), type=wire.Outcome)
        except msgspec.DecodeError as error:
            raise MessageError(f"the cloud's answer to telemetry cannot be read: {error}") from error
        until = asyncio.get_running_loop().time() + _REFUSED_SECONDS
        for stream, why in answer.refused.items():
            self._refused[stream] = until
            self._said.trouble(f"telemetry of {stream[:200]}", f"{why[:300]}; it waits here")
        await self._outbox.settle([section for section in sections if section.stream not in answer.refused])
        return True

    def _left_alone(self) -> frozenset[str]:
        now = asyncio.get_running_loop().time()
        self._refused = {stream: until for stream, until in self._refused.items() if until > now}
        return frozenset(self._refused)

    async def _until_news(self) -> None:
        """New values, then a moment for more; a connection that went meanwhile is noticed by the next request."""
        async with asyncio.TaskGroup() as group:
            gone = group.create_task(self._link.until_disconnected())
            news = group.create_task(self._gathered())
            await asyncio.wait((gone, news), return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            news.cancel()

    async def _gathered(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REFUSED_SECONDS):
                await self._news.wait()
                await asyncio.sleep(self._gather_seconds)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            try:
                await self._outbox.tidy()
            except StoreCorrupt:
                raise
            except StoreError as error:
                self._said.trouble("limits of telemetry", str(error))
