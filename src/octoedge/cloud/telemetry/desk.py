"""What telemetry there is, for whoever may ask on this machine: a Unix socket beside the status socket, mode 0600.

ask      one line: {"what": "audit", "node": ""} · {"what": "names"} ·
         {"what": "history", "device": "default/thermometer", "property": …, "since": ms, "until": ms}
answer   one line: {"accounts": […], "unsent": […], "away": {node: ms}, "trouble": ""} · {"names": […]} ·
         {"times": […], "values": […], "cut": …} · {"error": …}
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import msgspec

from octoedge.cloud.telemetry import store, unsent
from octoedge.errors import OctoedgeError
from octoedge.protocol.telemetry import LATEST
from octoedge.store.sqlite import Database
from octoedge.transport.local import beside, serve

log = logging.getLogger(__name__)

_ASK_SECONDS, _MAX_ASK = 5.0, 4096
_WRITE_SECONDS = 30.0


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody wants to know."""

    what: str
    node: str = ""
    device: str = ""
    property: str = ""
    since: int = 0
    until: int = LATEST


class Desk:
    """Module: the socket. Without it CloudCore runs all the same, and says so."""

    name = "telemetry desk"
    needs: tuple[str, ...] = ("telemetry",)

    def __init__(
        self, status_socket: Path, database: Callable[[], Database], connected: Callable[[], Collection[str]],
        trouble: Callable[[], str],
    ) -> None:  # fmt: skip
        self._path = beside(status_socket, "telemetry")
        self._database = database
        self._connected = connected
        self._trouble = trouble

    async def run(self, ready: Callable[[], None]) -> None:
        """Answer until cancelled."""
        ready()
        try:
            await serve(self._path, self._serve)
        except OSError as error:
            log.warning("nobody can ask for telemetry at %s: %s", self._path, error)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            answer = await self._answer(await _line(reader))
            async with asyncio.timeout(_WRITE_SECONDS):
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
        writer.close()

    async def _answer(self, line: bytes) -> Any:
        try:
            asked = msgspec.json.decode(line, type=Asked)
            answer = await _ANSWERS[asked.what](self._database(), asked)
            if asked.what == "audit":
                answer |= {"away": self._away(answer["accounts"]), "trouble": self._trouble()}
            return answer
        except (msgspec.DecodeError, KeyError) as error:
            return {"error": f"{line[:100].decode(errors='replace')!r} cannot be answered: {error}"}
        except OctoedgeError as error:
            return {"error": str(error)}

    def _away(self, accounts: list[store.Account]) -> dict[str, int]:
        """Nodes that are not connected, and when each told last: what they have numbered since nobody knows here."""
        here, told = self._connected(), dict[str, int]()
        for account in accounts:
            if account.node not in here:
                told[account.node] = max(account.told, told.get(account.node, 0))
        return told


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The question; nothing where it has no end."""
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            return (await reader.readline())[:_MAX_ASK]
    except ValueError:
        return b""


async def _audit(database: Database, asked: Asked) -> Any:
    return {
        "accounts": await database.read(lambda connection: store.accounts(connection, asked.node)),
        "unsent": await database.read(lambda connection: unsent.found(connection, asked.node)),
    }


async def _names(database: Database, _: Asked) -> Any:
    return {"names": await database.read(store.names)}


async def _history(database: Database, asked: Asked) -> Any:
    found = await database.read(
        lambda connection: store.history(connection, asked.device, asked.property, asked.since, asked.until)
    )
    if found is not None:
        return found
    known = [f"{device} {name}" for device, name in await database.read(store.names)]
    some = ", ".join(known[:10]) or "none: no Device has the annotation octoedge.io/telemetry"
    return {"error": f"no telemetry of {asked.device} {asked.property}; there is that of {some}"}


_ANSWERS = {"audit": _audit, "names": _names, "history": _history}
