"""Exports: what the store has goes on to other systems, each from where it stopped, also after a restart.

    store ──beyond the cursor──► values ──► influxdb, prometheus, http or mqtt ──taken──► cursor, in the store

The cursor moves when the other system has taken the values, so each gets every value at least once: after a crash the
last ones may come again, with the same times. What it refuses is said, and tried again: nothing is left out. Prometheus
is the exception, by its own rules: what is no number is not for it, what it refuses is not sent twice. Both is counted.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from octoedge.api.config.cloudcore import TelemetryExport
from octoedge.cloud.telemetry import formats, remotewrite, store, unsent, web
from octoedge.cloud.telemetry.formats import Value
from octoedge.errors import ConfigError, ConnectionClosed, OctoedgeError, StoreError, first_of
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.logs import SaidOnce
from octoedge.store.sqlite import Database
from octoedge.transport import mqtt

log = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0
_MOST = 5000
"""Values in one request."""
_SECONDS = 30.0

_Behind = tuple[int, str, str, int, int]


class Left(msgspec.Struct, frozen=True):
    """What a sender did not hand over, and does not wish to try again."""

    counts: Mapping[str, int] = {}
    refusal: str = ""


Sender = Callable[[TelemetryExport, Sequence[Value]], Awaitable[Left | None]]
"""Returns when the other system has taken the values."""


class Exports:
    """Module: a task for each export."""

    name = "telemetry exports"
    needs: tuple[str, ...] = ("telemetry",)

    def __init__(
        self, exports: Sequence[TelemetryExport], database: Callable[[], Database],
        senders: Mapping[str, Sender] | None = None,
    ) -> None:  # fmt: skip
        self._exports = exports
        self._database = database
        self._senders = _SENDERS if senders is None else senders
        self._said = SaidOnce(log)
        self._given_up: set[tuple[str, int]] = set()
        """(export, stream) of refusals that were said."""

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
            except (OctoedgeError, OSError, TimeoutError) as error:
                self._said.trouble(
                    f"export {export.name}", f"{str(error) or 'no answer in time'}; values wait in the store"
                )
                await asyncio.sleep(max(backoff.next(), error.seconds if isinstance(error, web.NotNow) else 0.0))
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
        refusal: web.Refused | None = None
        found = await database.read(lambda connection: _behind(connection, export.name))
        for behind in found:
            try:
                await self._hand_over(database, export, behind)
            except web.Refused as error:
                refusal = error
        if refusal is not None:
            raise refusal
        return bool(found)

    async def _hand_over(self, database: Database, export: TelemetryExport, behind: _Behind) -> None:
        key, device, name, number, settled = behind
        upto, times, texts = await database.read(lambda connection: store.after(connection, key, number, _MOST))
        values = [Value(device, name, time, text) for time, text in zip(times, texts, strict=True)]
        left_out = (await self._senders[export.kind](export, values) if values else None) or Left()
        if left_out.refusal:
            self._say_given_up(export, key, f"{device} {name}", left_out.refusal)
        row = (export.name, key, upto if values else settled)

        def move(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?, ?)", row)
            unsent.add(connection, export.name, key, left_out.counts)

        await database.write(move)

    def _say_given_up(self, export: TelemetryExport, key: int, stream: str, refusal: str) -> None:
        if (export.name, key) not in self._given_up:
            self._given_up.add((export.name, key))
            log.warning(
                "export %s: %s: %s; these values are given up, `octoedge telemetry audit` counts them and later ones",
                export.name, stream, refusal,
            )  # fmt: skip


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
    headers = {"Content-Type": "text/plain", **_authorization(export, "Token ")}
    await web.post(urlunsplit(parts._replace(query=query)), formats.influx(values), headers)


async def _http(export: TelemetryExport, values: Sequence[Value]) -> None:
    headers = {"Content-Type": "application/x-ndjson", **_authorization(export, "Bearer ")}
    await web.post(export.url, formats.lines(values), headers)


async def _prometheus(export: TelemetryExport, values: Sequence[Value]) -> Left:
    """What is refused (older than what is there, most often) is refused for ever: remote write forbids a second try."""
    request = remotewrite.written(values)
    if request.samples:
        try:
            await web.post(export.url, request.body, {**remotewrite.HEADERS, **_authorization(export, "Bearer ")})
        except web.Refused as error:
            return Left({**request.left_out, unsent.REFUSED: request.samples}, str(error))
    return Left(request.left_out)


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


def _authorization(export: TelemetryExport, scheme: str) -> dict[str, str]:
    """The header: user and password where there is a user, else the token."""
    if export.username:
        pair = f"{export.username}:{_token(export, '')}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    token = _token(export, scheme)
    return {"Authorization": token} if token else {}


def _token(export: TelemetryExport, scheme: str) -> str:
    """The secret, read each time: who renews it writes the file anew."""
    if not export.token_file:
        return ""
    try:
        return scheme + Path(export.token_file).read_text().strip()
    except OSError as error:
        raise ConfigError(f"octoedge.telemetry.exports: {export.token_file}: {error.strerror}") from error


_SENDERS: dict[str, Sender] = {
    "influxdb": _influxdb,
    "prometheus": _prometheus,
    "http": _http,
    "mqtt": _mqtt,
}
