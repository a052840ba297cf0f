"""Exports: what the store has goes on to other systems, each from where it stopped, also after a restart.

    store ──beyond the cursor──► values ──► influxdb, http or mqtt ──taken──► cursor, in the store

The cursor moves when the other system has taken the values, so each gets every value at least once: after a crash the
last ones may come again, with the same times. What it refuses is said, and tried again: nothing is left out.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import urlencode, urlsplit, urlunsplit

import aiohttp

from octoedge.api.config.cloudcore import TelemetryExport
from octoedge.cloud.telemetry import formats, store
from octoedge.cloud.telemetry.formats import Value
from octoedge.errors import ConfigError, ConnectionClosed, OctoedgeError, StoreError, TransportError, first_of
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.logs import SaidOnce
from octoedge.store.sqlite import Database
from octoedge.transport import mqtt

log = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0
_MOST = 5000
"""Values in one request."""
_SECONDS = 30.0
_MAX_ANSWER = 2048
_REFUSALS = frozenset({400, 413, 415, 422})
"""Statuses that are about the values, not about who sends them or when."""


_Behind = tuple[int, str, str, int, int]


class _Refused(TransportError):
    """The other system does not take these values, whatever comes after them."""


class Exports:
    """Module: a task for each export."""

    name = "telemetry exports"
    needs: tuple[str, ...] = ("telemetry",)

    def __init__(self, exports: Sequence[TelemetryExport], database: Callable[[], Database]) -> None:
        self._exports = exports
        self._database = database
        self._said = SaidOnce(log)

    async def run(self, ready: Callable[[], None]) -> None:
        """Export until cancelled."""
        async with asyncio.TaskGroup() as group:
            for export in self._exports:
                group.create_task(self._always(export), name=f"export {export.name}")
            ready()

    async def _always(self, export: TelemetryExport) -> None:
        backoff = Backoff(first=1.0, limit=60.0)
        while True:
            try:
                moved = await self._round(export)
            except (OctoedgeError, OSError, TimeoutError, aiohttp.ClientError) as error:
                self._said.trouble(
                    f"export {export.name}", f"{str(error) or 'no answer in time'}; values wait in the store"
                )
                await asyncio.sleep(backoff.next())
                continue
            backoff.reset()
            if moved:
                self._said.over(f"export {export.name}", "it takes values again")
            else:
                await asyncio.sleep(_LOOK_SECONDS)

    async def _round(self, export: TelemetryExport) -> bool:
        """Hand over some values of each stream that has new ones; whether there were any.

        A stream that the other system refuses holds up no other one; its refusal is raised at the end.
        """
        try:
            database = self._database()
        except StoreError:
            return False  # no node has sent any yet
        refusal: _Refused | None = None
        found = await database.read(lambda connection: _behind(connection, export.name))
        for behind in found:
            try:
                await self._hand_over(database, export, behind)
            except _Refused as error:
                refusal = error
        if refusal is not None:
            raise refusal
        return bool(found)

    async def _hand_over(self, database: Database, export: TelemetryExport, behind: _Behind) -> None:
        key, device, name, number, settled = behind
        upto, times, texts = await database.read(lambda connection: store.after(connection, key, number, _MOST))
        values = [Value(device, name, time, text) for time, text in zip(times, texts, strict=True)]
        if values:
            await _SENDERS[export.kind](export, values)
        row = (export.name, key, upto if values else settled)
        await database.write(
            lambda connection: connection.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?, ?)", row)
        )


def _behind(connection: sqlite3.Connection, export: str) -> list[_Behind]:
    """(stream, device, property, number of the last value exported, … that is stored) where there is more to export."""
    return connection.execute(
        "SELECT id, namespace || '/' || device, property, coalesce(number, 0), settled FROM stream "
        "LEFT JOIN cursor ON cursor.stream = stream.id AND export = ? WHERE settled > coalesce(number, 0) ORDER BY id",
        (export,),
    ).fetchall()


async def _influxdb(export: TelemetryExport, values: Sequence[Value]) -> None:
    parts = urlsplit(export.url)
    query = (
        parts.query
        if "precision=" in parts.query
        else "&".join(filter(None, (parts.query, urlencode({"precision": "ms"}))))
    )
    await _post(urlunsplit(parts._replace(query=query)), formats.influx(values), "text/plain", _token(export, "Token "))


async def _http(export: TelemetryExport, values: Sequence[Value]) -> None:
    await _post(export.url, formats.lines(values), "application/x-ndjson", _token(export, "Bearer "))


async def _post(url: str, body: bytes, kind: str, token: str) -> None:
    headers = {"Content-Type": kind, **({"Authorization": token} if token else {})}
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(url, data=body, headers=headers) as answer,
    ):
        if answer.status >= 300:
            words = (await answer.content.read(_MAX_ANSWER)).decode(errors="replace").strip()
            error = _Refused if answer.status in _REFUSALS else TransportError
            raise error(f"{url.partition('?')[0]} answers {answer.status} {words[:300]}")


async def _mqtt(export: TelemetryExport, values: Sequence[Value]) -> None:
    """Quality 1: taken when the broker has answered for each."""
    broker = mqtt.Broker(
        export.url,
        f"octoedge-{export.name}",
        username=export.username,
        password=_token(export, ""),
        ca_file=export.ca_file,
    )
    client = await mqtt.connect(broker)
    lost: BaseException | None = None
    try:
        async with asyncio.timeout(_SECONDS * 2), asyncio.TaskGroup() as group:
            pump = group.create_task(_pump(client))
            posted = [await client.post(formats.topic(export.topic, value), formats.lines([value])) for value in values]
            await asyncio.gather(*posted)
            pump.cancel()
    except* ConnectionClosed as closed:
        lost = first_of(closed)
    finally:
        client.close()
    if lost is not None:
        raise lost


async def _pump(client: mqtt.MqttClient) -> None:
    async for message in client.messages():
        client.acknowledge(message)


def _token(export: TelemetryExport, scheme: str) -> str:
    """The secret, read each time: who renews it writes the file anew."""
    if not export.token_file:
        return ""
    try:
        return scheme + Path(export.token_file).read_text().strip()
    except OSError as error:
        raise ConfigError(f"octoedge.telemetry.exports: {export.token_file}: {error.strerror}") from error


_SENDERS: dict[str, Callable[[TelemetryExport, Sequence[Value]], Awaitable[None]]] = {
    "influxdb": _influxdb,
    "http": _http,
    "mqtt": _mqtt,
}
