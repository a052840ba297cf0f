"""The ends of containers' logs, read on and on: what the cloud keeps for when this node is away.

A look costs one `stat` for each container; only what is new is read. Nothing is kept here between two looks: the mark
of how far a log was read belongs to the reader.
"""

from __future__ import annotations

import os
from pathlib import Path

from octoedge.edge.edged.cri.fields import ContainerState
from octoedge.edge.edged.layout import Layout
from octoedge.edge.edged.logs import LogText
from octoedge.edge.edged.observe import Observer
from octoedge.edge.ports import LogKey, LogMark, LogNews

_HEAD = 80
"""Bytes of a line within which its time, stream and tag stand."""


class Tails:
    """`LogEnds` of EdgeCore."""

    def __init__(self, layout: Layout, observer: Observer) -> None:
        self._layout = layout
        self._observer = observer

    def log_keys(self) -> list[LogKey]:
        """The containers that have run."""
        return [
            LogKey(pod.namespace, pod.name, pod.uid, name)
            for pod in self._observer.pods.values()
            for name in dict.fromkeys(one.name for one in pod.containers if one.state is not ContainerState.CREATED)
        ]

    def log_news(self, key: LogKey, since: LogMark | None, most: int) -> LogNews | None:
        """What the newest instance has written since the mark."""
        pod = self._observer.pods.get(key.uid)
        ran = [one for one in pod.of(key.container) if one.state is not ContainerState.CREATED] if pod else []
        if not ran:
            return None
        path = self._layout.log_file(key.namespace, key.pod, key.uid, key.container, ran[0].attempt)
        try:
            return read_on(path, ran[0].attempt, since, most)
        except OSError:
            return None  # gone, or just being rotated: the next look will see


def read_on(path: Path, attempt: int, since: LogMark | None, most: int) -> LogNews | None:
    """The whole lines behind the mark, the last `most` bytes of them at most."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with open(descriptor, "rb") as file:
        seen = os.fstat(descriptor)
        same = since is not None and since.attempt == attempt
        begin = since.offset if since is not None and same and since.file == seen.st_ino else 0
        if begin > seen.st_size:
            same, begin = False, 0
        start = max(begin, seen.st_size - most)
        file.seek(start)
        data = file.read(most)
    if start > begin:
        # Cut off by the limit: what came before is missing, and the first line is a part of one.
        start, data = start + data.find(b"\n") + 1, data[data.find(b"\n") + 1 :]
        same = False
    data = _whole_lines(data)
    if not data and since is not None and same:
        return None
    return LogNews(LogText(timestamps=True).feed(data), not same, LogMark(attempt, seen.st_ino, start + len(data)))


def _whole_lines(data: bytes) -> bytes:
    """Without a line at the end that goes on: in the file, or in the runtime's next part of it."""
    data = data[: data.rfind(b"\n") + 1]
    while data:
        begin = data.rfind(b"\n", 0, -1) + 1
        words = data[begin : begin + _HEAD].split(b" ", 3)
        if len(words) < 3 or not words[2].startswith(b"P"):
            break
        data = data[:begin]
    return data
