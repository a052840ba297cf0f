"""Registrations of mappers and what each was told, as the store keeps them: the functions run in its transactions.

A mapper that another one of its protocol has displaced is kept, with what it was told: it may serve again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Mapping

import msgspec

from octoedge.edge.devicetwin.tell import Call, Key
from octoedge.errors import MessageError

log = logging.getLogger(__name__)

MAX_DISPLACED = 8
"""So many mappers of a protocol are remembered besides the one that serves it."""
_KEY = "node/nodeID/namespace/devicemapper/"
"""Where KubeEdge keeps registrations in the table `meta`; the words are literal."""
_TYPE = "devicemapper"


class Registration(msgspec.Struct, frozen=True):
    """A mapper as KubeEdge keeps it; `address` is the path of its socket, base64 in JSON."""

    name: str
    version: str = ""
    api_version: str = ""
    protocol: str = ""
    address: bytes = b""
    state: str = ""

    @property
    def path(self) -> str:
        """The socket's path."""
        return self.address.decode(errors="replace")

    @property
    def wide(self) -> bool:
        """Whether it is one of ours, which reads numbers of 64 bits."""
        return "octoedge" in self.version

    def check(self) -> None:
        """Raises `MessageError` for one that cannot be kept or reached."""
        for what, text in (("name", self.name), ("protocol", self.protocol)):
            if not text or len(text) > 253 or "/" in text:
                raise MessageError(
                    f"a mapper registers with a {what} of 1 to 253 characters without a slash, not {text[:60]!r}"
                )
        if not self.path.startswith("/"):
            raise MessageError(
                f"mapper {self.name} registers with the address {self.path[:100]!r}; it must be the absolute path of"
                " its unix socket"
            )


def stored(connection: sqlite3.Connection) -> list[Registration]:
    """In the order of their last registration: of those for one protocol the last serves it."""
    found: list[Registration] = []
    for (value,) in connection.execute("SELECT value FROM meta WHERE type = ? ORDER BY rowid", (_TYPE,)):
        try:
            found.append(msgspec.json.decode(value, type=Registration))
        except msgspec.DecodeError as error:
            log.warning("a mapper's registration cannot be read and is left out: %s", error)
    return found


def displaced(among: Iterable[Registration], serving: Registration) -> list[Registration]:
    """Other mappers of its protocol with sockets of their own, the last one first."""
    others = [one for one in among if one.protocol == serving.protocol and one.name != serving.name]
    return [one for one in reversed(others) if one.path != serving.path]


def told(connection: sqlite3.Connection, protocol: str) -> dict[Key, str]:
    """What the mapper that serves a protocol was told, by digests."""
    rows = connection.execute("SELECT kind, key, digest FROM mapper_told WHERE protocol = ?", (protocol,))
    return {(kind, key): digest for kind, key, digest in rows}


def note(connection: sqlite3.Connection, protocol: str, done: Call) -> None:
    """It was told this."""
    if done.digest:
        _put_told(connection, protocol, {done.key: done.digest})
    else:
        connection.execute("DELETE FROM mapper_told WHERE protocol = ? AND kind = ? AND key = ?", (protocol, *done.key))


def keep(
    connection: sqlite3.Connection, new: Registration, knows: Mapping[Key, str], before: Registration | None
) -> None:
    """A mapper registers, in place of the one `before` it, and knows all this."""
    _set_aside(connection, before)
    _put_last(connection, new)
    for served in (new.protocol, _aside(new)):
        connection.execute("DELETE FROM mapper_told WHERE protocol = ?", (served,))
    _put_told(connection, new.protocol, knows)
    others = [one for one in stored(connection) if one.protocol == new.protocol and one.name != new.name]
    remembered = displaced(others, new)[:MAX_DISPLACED]
    for old in others:
        if old not in remembered:
            connection.execute("DELETE FROM meta WHERE key = ?", (_KEY + old.name,))
            connection.execute("DELETE FROM mapper_told WHERE protocol = ?", (_aside(old),))


def keep_again(connection: sqlite3.Connection, again: Registration, gone: Registration) -> None:
    """One that was displaced serves again, with what it was told then, in place of the one that is gone."""
    _set_aside(connection, gone)
    _put_last(connection, again)
    connection.execute(
        "UPDATE OR REPLACE mapper_told SET protocol = ? WHERE protocol = ?", (again.protocol, _aside(again))
    )


def _aside(registration: Registration) -> str:
    """Where what a displaced mapper was told is kept; no protocol has a slash."""
    return f"{registration.protocol}/{registration.name}"


def _set_aside(connection: sqlite3.Connection, before: Registration | None) -> None:
    if before is not None:
        connection.execute("DELETE FROM mapper_told WHERE protocol = ?", (_aside(before),))
        connection.execute("UPDATE mapper_told SET protocol = ? WHERE protocol = ?", (_aside(before), before.protocol))


def _put_last(connection: sqlite3.Connection, registration: Registration) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO meta (key, type, value) VALUES (?, ?, ?)",
        (_KEY + registration.name, _TYPE, msgspec.json.encode(registration).decode()),
    )


def _put_told(connection: sqlite3.Connection, protocol: str, digests: Mapping[Key, str]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO mapper_told (protocol, kind, key, digest) VALUES (?, ?, ?, ?)",
        [(protocol, *key, digest) for key, digest in digests.items()],
    )
