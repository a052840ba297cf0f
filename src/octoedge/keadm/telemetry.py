"""Telemetry, for a person: CloudCore's telemetry socket is asked, and what it says becomes sentences, tables, lines."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from octoedge.errors import InstallError
from octoedge.keadm.table import plain, table
from octoedge.runtime.clock import rfc3339
from octoedge.transport.local import beside

_SECONDS = 60.0
_LARGEST = 512 << 20
_SOME = 5
"""Nodes that are named in a sentence."""
T = TypeVar("T")


class Account(msgspec.Struct, frozen=True):
    """What there is of one stream."""

    stream: str
    epoch: str
    node: str
    told: int
    sent: int
    stored: int
    forgotten: int
    duplicates: int
    again: int
    waiting: int
    gaps: list[tuple[int, int, str]]

    @property
    def missing(self) -> int:
        """Values in gaps."""
        return sum(last - first + 1 for first, last, _ in self.gaps)


class Unsent(msgspec.Struct, frozen=True):
    """Values that an export did not hand on; they are in the store all the same."""

    export: str
    stream: str
    why: str
    count: int


class Audit(msgspec.Struct, frozen=True):
    """All streams."""

    accounts: list[Account]
    unsent: list[Unsent] = []
    away: dict[str, int] = {}
    """Nodes that are not connected, and when (ms) each told last how many values it has numbered."""
    trouble: str = ""
    """Why nothing is stored now."""

    @property
    def well(self) -> bool:
        """Whether nothing is missing and nothing there twice."""
        return not any(account.gaps or account.duplicates for account in self.accounts)

    def text(self) -> str:
        """For a person: one line when all is well."""
        if not self.accounts:
            return "no telemetry has come: no Device asks for it (annotation octoedge.io/telemetry), or none has spoken"
        lines = [self._sum()]
        for account in self.accounts:
            lines += [
                f"{account.stream}: {_count(last - first + 1)} missing, values {first} to {last}: {why}"
                for first, last, why in account.gaps
            ]
            if account.duplicates:
                lines.append(f"{account.stream}: {_count(account.duplicates)} stored twice")
        lines += [
            f"{one.stream}: {_count(one.count)} not sent on by the export {one.export}: {one.why}"
            for one in self.unsent
        ]
        lines += self._about_nodes_away()
        if self.trouble:
            lines.append(f"nothing is stored now, nodes keep what they have: {self.trouble}")
        return "\n".join(lines)

    def rows(self) -> str:
        """A table, a line for each stream."""
        heads = ("stream", "node", "sent", "stored", "waiting", "missing", "told")
        return table(heads, [
            (one.stream, one.node, _count(one.sent), _count(one.stored + one.forgotten), _count(one.waiting),
             _count(one.missing), rfc3339(one.told / 1000)) for one in self.accounts
        ])  # fmt: skip

    def _about_nodes_away(self) -> list[str]:
        if not self.away:
            return []
        latest = sorted(self.away.items(), key=lambda pair: -pair[1])
        some = ", ".join(f"{node} (told last at {rfc3339(told / 1000)})" for node, told in latest[:_SOME])
        more = f" and {len(latest) - _SOME} more" if len(latest) > _SOME else ""
        return [f"not connected now, so what they have numbered since is not counted: {some}{more}"]

    def _sum(self) -> str:
        def total(name: str) -> int:
            return sum(getattr(account, name) for account in self.accounts)

        gaps = sum(len(account.gaps) for account in self.accounts)
        stored = total("stored") + total("forgotten") - total("duplicates")
        said = (
            f"{_count(total('sent'))} sent, {_count(stored)} stored, "
            f"{gaps} {'gap' if gaps == 1 else 'gaps'}, {_count(total('duplicates'))} duplicates"
        )
        if total("missing"):
            said += f"; {_count(total('missing'))} values missing"
        if total("waiting"):
            said += f"; {_count(total('waiting'))} wait on their nodes"
        if total("forgotten"):
            said += f"; {_count(total('forgotten'))} of the stored are older than the store keeps"
        return said


class History(msgspec.Struct, frozen=True):
    """Values of a property."""

    times: list[int]
    values: list[str]
    cut: bool


class _Failed(msgspec.Struct, frozen=True):
    error: str = ""


def audit(status_socket: Path, node: str = "") -> Audit:
    """What CloudCore has, counted."""
    return ask(status_socket, {"what": "audit", "node": node}, Audit)


def history(status_socket: Path, device: str, name: str, since: int, until: int) -> History:
    """What a property (`device`: namespace and name) said between two times, ms."""
    asked: dict[str, str | int] = {
        "what": "history", "device": device, "property": name, "since": since, "until": until,
    }  # fmt: skip
    return ask(status_socket, asked, History)


def ask(status_socket: Path, asked: dict[str, str | int], kind: type[T]) -> T:
    """Ask CloudCore's telemetry socket; `InstallError` when it cannot be asked or says why not."""
    path = beside(status_socket, "telemetry")
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(_SECONDS)
        try:
            asking.connect(str(path))
            asking.sendall(msgspec.json.encode(asked) + b"\n")
            with asking.makefile("rb") as answers:
                answer = answers.read(_LARGEST)
        except OSError as error:
            why = f"nobody can be asked for telemetry at {path}: {error.strerror or error}"
            raise InstallError(f"{why}; is CloudCore running here, and are you its user or root?") from error
    try:
        failed = msgspec.json.decode(answer, type=_Failed)
        if not failed.error:
            return msgspec.json.decode(answer, type=kind)
    except msgspec.DecodeError as error:
        raise InstallError(f"the answer of {path} cannot be read: {error}") from error
    raise InstallError(failed.error)


def lines(found: History) -> Sequence[str]:
    """A line for each value: its time and its text."""
    return [f"{moment(time)}  {plain(value)}" for time, value in zip(found.times, found.values, strict=True)]


def moment(time: int) -> str:
    """`2026-01-02T03:04:05.678Z`"""
    return f"{rfc3339(time // 1000)[:-1]}.{time % 1000:03d}Z"


def _count(number: int) -> str:
    return f"{number:,}"
