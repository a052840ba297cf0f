"""The ends of containers' logs, kept for when their node is away: one small file each, all of them together bounded.

    edge ══ LOG_END ══► KeptLogs.take → queue → DIRECTORY/NODE/UID_CONTAINER.log → KeptLogs.find → `selected`

`take` never waits: a tunnel carries streams too, and a slow disk must not hold them up. One task writes, in the order
in which pieces came; what the disk is too slow for is left out, which the log itself then says where it is missing.
Files survive a restart of CloudCore; they are not synced, so that a power failure may cost the last ones. A node writes
into its own folder only, so nobody can make up the log of a pod that belongs to another node.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from octoedge.errors import MessageError, bad_request
from octoedge.kube.read import flag
from octoedge.protocol.tunnel import LogEnd
from octoedge.runtime.clock import Clock, parse_rfc3339
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_UID = re.compile(r"[0-9A-Za-z-]{1,64}")
_DAY = 86400.0
_SUBJECT = "keeping the ends of logs"
_SLOW = "the disk that keeps the ends of logs"
_MAX_WAITING = 4 * 1024 * 1024
"""Bytes that may wait for the disk."""
_PIECE = 512
"""Bytes that a piece takes beside its text, about."""
_MAX_HOLES = 4096
"""Logs of which it is remembered how much is missing."""
_FIND_SECONDS = 3.0
"""How long a reader waits for the pieces that came before it asked."""
_STOP_SECONDS = 3.0
"""For what still waits when CloudCore stops."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept."""

    container: int
    """Bytes of each log."""
    total: int
    """Bytes of all logs."""
    days: float
    """After which a log that got nothing new is forgotten."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What there is of one log."""

    text: bytes
    """Lines, each behind the time of its writing."""
    at: float
    """When the last of it came (seconds since the epoch)."""


@dataclass(frozen=True, slots=True)
class _File:
    size: int
    at: float


class KeptLogs:
    """The files and what is known of them; `run` alone writes them."""

    def __init__(self, directory: Path, limits: Limits, clock: Clock) -> None:
        self.limits = limits
        self.taken = 0
        """Pieces that were written since the start."""
        self.left_out = 0
        """Pieces that the disk was too slow for."""
        self._directory = directory
        self._clock = clock
        self._files: OrderedDict[Path, _File] | None = None
        """Those that got something longest ago come first; None until they are looked for."""
        self._total = 0
        self._waiting: deque[tuple[Path, LogEnd]] = deque()
        self._waiting_bytes = 0
        self._holes: dict[Path, int] = {}
        """Bytes that are missing behind what is written of a log."""
        self._under_way: asyncio.Future[None] | None = None
        """The first that waits, being written."""
        self._wake = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()
        self._said = SaidOnce(log)

    @property
    def count(self) -> int:
        """How many logs are kept."""
        return len(self._files or ())

    @property
    def bytes(self) -> int:
        """How much all of them take."""
        return self._total

    def take(self, node: str, end: LogEnd) -> None:
        """Keep what a node hands over, soon. `MessageError`: no such name."""
        path = self._path(node, end.uid, end.container)
        if self._waiting_bytes + len(end.text) + _PIECE > _MAX_WAITING:
            self._leave_out(path, end)
            return
        missing = self._holes.pop(path, 0)
        if missing and not end.whole:
            end = msgspec.structs.replace(end, text=_hole(missing) + end.text)
        self._waiting.append((path, end))
        self._waiting_bytes += len(end.text) + _PIECE
        self._written.clear()
        self._wake.set()

    async def run(self) -> None:
        """Write what was taken, until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._write()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._write()

    async def written(self) -> None:
        """Until all that was taken is on disk, or given up."""
        await self._written.wait()

    async def find(self, node: str, uid: str, container: str) -> Kept | None:
        """What is kept of a container's log."""
        path = self._path(node, uid, container)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIND_SECONDS):
                await self.written()
        return await asyncio.to_thread(_read, path, self.limits.container)

    def _leave_out(self, path: Path, end: LogEnd) -> None:
        self.left_out += 1
        if path in self._holes or len(self._holes) < _MAX_HOLES:
            self._holes[path] = self._holes.get(path, 0) + len(end.text)
        why = f"{self._waiting_bytes >> 20} MiB wait for {self._directory}; what comes meanwhile is left out"
        self._said.trouble(_SLOW, why)

    async def _write(self) -> None:
        """Write all that waits, one piece after the other; a disk that cannot take them is told of once."""
        while self._waiting:
            path, end = self._waiting[0]
            if self._under_way is None:
                self._under_way = asyncio.get_running_loop().run_in_executor(None, self._take, path, end)
            try:
                # Who is cancelled here leaves the thread at work; the next turn waits for it first.
                await asyncio.shield(self._under_way)
            except OSError as error:
                self._said.trouble(_SUBJECT, f"{error.filename or self._directory}: {error.strerror}; nothing is kept")
            else:
                self.taken += 1
                self._said.over(_SUBJECT, "the disk takes them again")
            self._under_way = None
            self._waiting.popleft()
            self._waiting_bytes -= len(end.text) + _PIECE
        self._written.set()
        self._said.over(_SLOW, "keeps up again")

    def _path(self, node: str, uid: str, container: str) -> Path:
        if not (_NAME.fullmatch(node) and _NAME.fullmatch(container) and _UID.fullmatch(uid)):
            raise MessageError(f"the log of {container[:100]!r} of {uid[:100]!r} on {node[:253]!r} cannot be kept")
        return self._directory / node / f"{uid}_{container}.log"

    def _take(self, path: Path, end: LogEnd) -> None:
        files = self._known()
        before = b"" if end.whole else path.read_bytes() if path in files else b""
        text = _last_lines(before + end.text, self.limits.container)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(text)
        part.replace(path)
        self._forget(path)
        files[path] = _File(len(text), self._clock.now())
        self._total += len(text)
        self._make_room(files)

    def _known(self) -> OrderedDict[Path, _File]:
        """The files, those of an earlier run included."""
        if self._files is None:
            found = {path: path.stat() for path in self._directory.glob("*/*.log")}
            rows = sorted((seen.st_mtime, path, seen.st_size) for path, seen in found.items())
            self._files = OrderedDict((path, _File(size, at)) for at, path, size in rows)
            self._total = sum(size for _, _, size in rows)
        return self._files

    def _make_room(self, files: OrderedDict[Path, _File]) -> None:
        oldest = self._clock.now() - self.limits.days * _DAY
        while files:
            path, file = next(iter(files.items()))
            if self._total <= self.limits.total and file.at >= oldest:
                return
            path.unlink(missing_ok=True)
            self._forget(path)
            with contextlib.suppress(OSError):  # others are in it
                path.parent.rmdir()

    def _forget(self, path: Path) -> None:
        file = self._known().pop(path, None)
        self._total -= file.size if file else 0


def _hole(missing: int) -> bytes:
    return f"# {missing} bytes of this log are missing here: the cloud's disk was too slow for them\n".encode()


def selected(text: bytes, query: Mapping[str, str], now: float) -> bytes:
    """The lines that the kubelet's query asks for; `ApiError` 400 when it cannot be read."""
    lines = [line + b"\n" for line in text.split(b"\n")[:-1]]
    since = _since(query, now)
    if since is not None:
        lines = [line for line in lines if _written(line) >= since]
    tail = query.get("tailLines", "")
    if tail:
        lines = lines[max(0, len(lines) - _number("tailLines", tail)) :]
    if not flag(query, "timestamps"):
        lines = [line.partition(b" ")[2] if _written(line) else line for line in lines]
    whole = b"".join(lines)
    limit = query.get("limitBytes", "")
    return whole[: _number("limitBytes", limit)] if limit else whole


def _since(query: Mapping[str, str], now: float) -> float | None:
    if query.get("sinceSeconds"):
        return now - _number("sinceSeconds", query["sinceSeconds"])
    if not query.get("sinceTime"):
        return None
    try:
        return parse_rfc3339(query["sinceTime"])
    except ValueError as error:
        raise bad_request(f"sinceTime {query['sinceTime'][:64]!r} is not an RFC 3339 time") from error


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise bad_request(f"{name} must be a number, not {text[:64]!r}")
    return int(text)


def _written(line: bytes) -> float:
    """When the line was written; 0 when it does not say."""
    try:
        return parse_rfc3339(line.partition(b" ")[0].decode("ascii"))
    except ValueError:
        return 0.0


def _last_lines(text: bytes, most: int) -> bytes:
    if len(text) <= most:
        return text
    cut = text[-most:]
    return cut[cut.find(b"\n") + 1 :]


def _read(path: Path, most: int) -> Kept | None:
    try:
        with path.open("rb") as file:
            return Kept(file.read(most), os.fstat(file.fileno()).st_mtime)
    except OSError:
        return None
