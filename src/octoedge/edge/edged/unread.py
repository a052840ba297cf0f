"""Input that nobody reads any more: the rest in the pipe of a command that has ended.

    client ─ SPDY ─ containerd ─ FIFO ─ its shim ─ the command

containerd 1.6 tells how a command ended only when all of its input is through. What comes faster than the command
reads fills the FIFO, and when the command has ended nobody empties it: `yes | kubectl exec -i … -- head -c 5` would
wait for ever, and containerd keep its part of it. So the rest is read away here. Which command has ended is seen from
containerd's own files, one FIFO and one pid file each; other runtimes have no such files, and no need.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

PIPE = 64 * 1024
"""Bytes that a FIFO holds; less input than that never waits."""
_MOST = 16
"""Reads of one FIFO at a time."""
_CRI = "io.containerd.grpc.v1.cri"
_TASKS = "io.containerd.runtime.v2.task/k8s.io"


def state_of(info: dict[str, str]) -> Path | None:
    """containerd's folder of state, from its verbose CRI status; None when it is no containerd."""
    try:
        config = msgspec.json.decode(info.get("config", "{}"))
    except msgspec.DecodeError:
        return None
    folder = Path(str(config.get("stateDir", ""))) if isinstance(config, dict) else Path()
    return folder.parent if folder.name == _CRI else None


def read_away(state: Path, container: str) -> int:
    """Empty the input of every command in a container that has ended; returns the bytes read. Raises `OSError`."""
    fifos = (state / _CRI / "containers" / container / "io").glob("*/*-stdin")
    return sum(_drain(fifo) for fifo in fifos if _has_ended(state / _TASKS / container, fifo))


def _has_ended(task: Path, fifo: Path) -> bool:
    """Whether the command was started and its process is gone. One that is being started has no pid yet."""
    try:
        pid = int((task / f"{fifo.name.removesuffix('-stdin')}.pid").read_text())
    except (FileNotFoundError, ValueError):
        return False
    return not Path(f"/proc/{pid}").exists()


def _drain(fifo: Path) -> int:
    try:
        reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:  # the runtime has removed it meanwhile
        return 0
    try:
        return _read(reading) if stat.S_ISFIFO(os.fstat(reading).st_mode) else 0
    finally:
        os.close(reading)


def _read(reading: int) -> int:
    size = 0
    for _ in range(_MOST):
        try:
            part = os.read(reading, PIPE)
        except BlockingIOError:
            break
        if not part:
            break
        size += len(part)
    return size
