"""Why a container ended, in its own words: its termination message file, or the end of its log."""

from __future__ import annotations

import os
from pathlib import Path

from octoedge.edge.edged.cri.fields import ContainerState
from octoedge.edge.edged.layout import Layout
from octoedge.edge.edged.observed import ContainerSeen, PodSeen

MOST_BYTES = 4096
_MOST_LOG_BYTES, _MOST_LOG_LINES = 2048, 80


class TerminationMessages:
    """Reads each ended container's message once."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._read: dict[str, dict[str, str]] = {}

    def of(self, pod: PodSeen) -> dict[str, str]:
        """Messages by container id."""
        ended = [container for container in pod.containers if container.state is ContainerState.EXITED]
        before = self._read.pop(pod.uid, {})
        messages = {c.id: before[c.id] if c.id in before else self._message(pod, c) for c in ended}
        if messages:
            self._read[pod.uid] = messages
        return messages

    def forget(self, uid: str) -> None:
        self._read.pop(uid, None)

    def _message(self, pod: PodSeen, container: ContainerSeen) -> str:
        path = self._layout.termination_log(pod.uid, container.name, container.attempt)
        text = read_tail(path, MOST_BYTES).decode("utf-8", "replace") if container.termination_path else ""
        if text or container.termination_policy != "FallbackToLogsOnError" or container.exit_code == 0:
            return text
        log_file = self._layout.log_file(pod.namespace, pod.name, pod.uid, container.name, container.attempt)
        lines = read_tail(log_file, 4 * _MOST_LOG_BYTES).decode("utf-8", "replace").splitlines(keepends=True)
        said = "".join(line.split(" ", 3)[-1] for line in lines[-_MOST_LOG_LINES:])
        return said[-_MOST_LOG_BYTES:]


def read_tail(path: Path, most: int) -> bytes:
    """The last bytes of a regular file; nothing when there is none. A link is not followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    with open(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        file.seek(max(0, size - most))
        return file.read(most)
