"""`kubectl logs` at the edge: the runtime's log files in, what the container wrote out.

    <time> <stream> F text\\n      a whole line
    <time> <stream> P text\\n      a part of one: joined with what follows

`LogText` turns bytes of the file into bytes for the reader (pure, bounded memory); `Logs` finds the file, reads it in
chunks, and follows it by looking ten times a second while somebody does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from octoedge.edge.edged.cri.fields import ContainerState
from octoedge.edge.edged.layout import Layout
from octoedge.edge.edged.observe import Observer
from octoedge.edge.edged.observed import ContainerSeen, PodSeen
from octoedge.edge.edged.pods import Pods
from octoedge.edge.ports import LogRequest
from octoedge.errors import ApiError, bad_request
from octoedge.runtime.clock import Clock, parse_rfc3339

CHUNK = 120 * 1024
"""Below the size from which on malloc asks the kernel for each block, and gives it back."""
_POLL = 0.1
_MOST_LINE = 1024 * 1024
"""A file without a newline for so long is no log: it is passed on as it is."""

_STREAMS = (b"stdout", b"stderr")
_TAG = b"Z stdout F "
_TAGS = (_TAG, b"Z stderr F ")
_NO_TAG = b"\n"
"""Stands in no line."""
_LATEST_TEXT = len("2026-11-21T01:50:52.352139055Z stdout F ") + 1
"""A text begins before; the shortest stamp, to the second, ends ten bytes earlier."""
_LINE = re.compile(rb"([^ ]+) (?:stdout|stderr) ([FP])[^ ]* (.*)", re.DOTALL)


class LogText:
    """Log file bytes to text, piece by piece."""

    def __init__(self, *, timestamps: bool = False, since: float | None = None) -> None:
        self._timestamps = timestamps
        self._since = (
            None if since is None else datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").encode()
        )
        self._rest = b""
        self._new_line = True

    def feed(self, data: bytes) -> bytes:
        """What `data` adds; an unfinished line waits for its end."""
        end = data.rfind(b"\n") + 1
        text, self._rest = (self._rest + data[:end], data[end:]) if end else (b"", self._rest + data)
        newline = len(self._rest) <= _MOST_LINE
        if not newline:
            text, self._rest = text + self._rest, b""
        if not text:
            return b""
        plain = newline and not self._timestamps and self._since is None and self._new_line
        lines = text.split(b"\n")
        if plain and (simple := _whole_lines(lines[:-1])) is not None:
            return simple
        return b"".join([self._line(line) for line in lines[:-1]] if newline else [text])

    def _line(self, line: bytes) -> bytes:
        match = _LINE.fullmatch(line)
        if match is None:
            return line + b"\n"
        stamp, tag, text = match.groups()
        if self._since is not None:
            if stamp < self._since:
                return b""
            self._since = None
        prefix = stamp + b" " if self._timestamps and self._new_line else b""
        self._new_line = tag == b"F"
        return prefix + text + (b"\n" if self._new_line else b"")


def _whole_lines(lines: list[bytes]) -> bytes | None:
    """The text of lines that are all whole ones, as most are: the fast way. None when they are not.

    Most have stream and tag where the first line has them, and are only cut there. A shorter stamp cannot be taken for
    such a one: where the `Z` of the longest is looked for, it has stream or tag, in which there is none.
    """
    end = lines[0].find(b" ") + len(_TAG) - 1
    tag = lines[0][end - len(_TAG) : end] if end < _LATEST_TEXT else b""
    if tag not in _TAGS:
        tag = _NO_TAG
    begin = end - len(tag)
    try:
        return b"\n".join([one[end:] if one[begin:end] == tag else _text(one) for one in lines]) + b"\n"
    except ValueError:
        return None


def _text(line: bytes) -> bytes:
    """The text of a whole line; `ValueError` when it is none."""
    _, stream, tag, text = line.split(b" ", 3)
    if tag != b"F" or stream not in _STREAMS:
        raise ValueError
    return text


class Logs:
    """`ContainerLogs` of EdgeCore."""

    def __init__(self, layout: Layout, pods: Pods, observer: Observer, clock: Clock) -> None:
        self._layout = layout
        self._pods = pods
        self._observer = observer
        self._clock = clock

    async def logs(self, request: LogRequest) -> AsyncIterator[bytes]:
        """The log's bytes. Raises `ApiError` 404 and 400 with the kubelet's texts."""
        since = self._since(request)
        for name, number in (("tailLines", request.tail_lines), ("limitBytes", request.limit_bytes)):
            if number is not None and number < (0 if name == "tailLines" else 1):
                raise bad_request(f"{name}: must be greater than {'or equal to 0' if name == 'tailLines' else '0'}")
        seen = self._pod(request)
        container = _choose(request, seen)
        path = self._layout.log_file(seen.namespace, seen.name, seen.uid, container.name, container.attempt)
        try:
            file = _open(path)
        except OSError as error:
            raise bad_request(f"the log of container {container.name} cannot be opened: {error.strerror}") from error
        text = LogText(timestamps=request.timestamps, since=since)
        return _limited(self._read(file, path, text, request, seen.uid, container.id), request.limit_bytes)

    def _since(self, request: LogRequest) -> float | None:
        if request.since_seconds is not None:
            if request.since_seconds < 1:
                raise bad_request("sinceSeconds: must be greater than 0")
            return self._clock.now() - request.since_seconds
        if not request.since_time:
            return None
        try:
            return parse_rfc3339(request.since_time)
        except ValueError as error:
            raise bad_request(f"sinceTime {request.since_time!r} is not an RFC 3339 time") from error

    def _pod(self, request: LogRequest) -> PodSeen:
        """The pod by name; the newest where an old one is still ending."""
        pod = self._pods.named(request.namespace, request.pod)
        if pod is not None:
            names = [spec.name for spec in pod.spec.everyone()]
            if request.container not in names:
                raise ApiError(404, "NotFound", f'container "{request.container}" not found in pod "{request.pod}"')
            uid = pod.metadata.uid
            return self._observer.pods.get(uid) or PodSeen(uid, request.namespace, request.pod)
        raise ApiError(404, "NotFound", f'pod "{request.pod}" not found')

    async def _read(
        self, file: BinaryIO, path: Path, text: LogText, request: LogRequest, uid: str, container_id: str
    ) -> AsyncGenerator[bytes, None]:
        with file:
            if request.tail_lines is not None:
                file.seek(tail_offset(file, request.tail_lines))
            while True:
                # Asked before reading: what an ended container wrote last is then surely in the file.
                ended = not request.follow or not self._running(uid, container_id)
                while data := file.read(CHUNK):
                    if out := text.feed(data):
                        yield out
                    await asyncio.sleep(0)
                if ended:
                    return
                if _rotated(file, path):
                    _reopen(file, path)
                else:
                    await asyncio.sleep(_POLL)

    def _running(self, uid: str, container_id: str) -> bool:
        seen = self._observer.pods.get(uid)
        return seen is not None and any(
            c.id == container_id and c.state is ContainerState.RUNNING for c in seen.containers
        )


def tail_offset(file: BinaryIO, lines: int) -> int:
    """Where the last `lines` lines begin, looking from the end."""
    end = at = file.seek(0, os.SEEK_END)
    if lines == 0:
        return end
    left = lines
    while at > 0:
        start = max(0, at - CHUNK)
        file.seek(start)
        block = file.read(at - start)
        # A newline at the very end closes the last line; it does not begin one.
        position = len(block) - 1 if at == end and block.endswith(b"\n") else len(block)
        while (position := block.rfind(b"\n", 0, position)) >= 0:
            left -= 1
            if left == 0:
                return start + position + 1
        at = start
    return 0


async def _limited(source: AsyncGenerator[bytes, None], limit: int | None) -> AsyncIterator[bytes]:
    left = limit
    async with contextlib.aclosing(source):
        async for data in source:
            yield data if left is None else data[:left]
            if left is not None:
                left -= len(data)
                if left <= 0:
                    return


def _choose(request: LogRequest, seen: PodSeen) -> ContainerSeen:
    """The container instance whose log is meant."""
    records = [c for c in seen.of(request.container) if c.state is not ContainerState.CREATED]
    what = f'container "{request.container}" in pod "{request.pod}"'
    if request.previous:
        if len(records) < 2:
            raise bad_request(f"previous terminated {what} not found")
        return records[1]
    if not records:
        raise bad_request(f"{what} is waiting to start: ContainerCreating")
    return records[0]


def _open(path: Path) -> BinaryIO:
    # Not buffered: a buffered file at its end would not notice what is written next.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    return open(descriptor, "rb", buffering=0)


def _rotated(file: BinaryIO, path: Path) -> bool:
    try:
        now = os.stat(path)
    except OSError:
        return False
    mine = os.fstat(file.fileno())
    return (now.st_ino, now.st_dev) != (mine.st_ino, mine.st_dev)


def _reopen(file: BinaryIO, path: Path) -> None:
    """Let the open file be the new one at `path`."""
    fresh = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    os.dup2(fresh, file.fileno())
    os.close(fresh)
