"""`octoedge capture`: what a running CloudCore or EdgeCore and its peers say to each other, redacted, in a file.

    octoedge capture ──one line──► the daemon's capture socket ──lines──► FILE, mode 0600

The daemon redacts before anything leaves it (`protocol.redaction`) and goes on as before; Ctrl-C ends a capture early
and well. `octoedge replay FILE` plays it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import BinaryIO

from octoedge.errors import InstallError, MessageError
from octoedge.keadm import layout, register
from octoedge.protocol import capture
from octoedge.transport.local import beside

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_PATIENCE = 30.0
"""Seconds beyond the time of the capture."""
_CHUNK = 1 << 16
_LINE = 1 << 20
"""Bytes of the first and the last line at most: a fleet's names stand in the last."""
_QUOTED = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "whose messages (default: those of all nodes that the daemon speaks with)"
    parser.add_argument("node", metavar="NODE", nargs="?", default="", help=text)
    parser.add_argument("--from", dest="source", choices=(capture.CLOUD, capture.EDGE), default=capture.CLOUD,
                        help="which end captures (default: cloud)")  # fmt: skip
    text = "the daemon's status socket (default: that of this installation)"
    parser.add_argument("--socket", metavar="FILE", type=Path, help=text)
    parser.add_argument("--for", dest="seconds", metavar="TIME", type=seconds, default=60.0, help="30s, 5m, 1h (60s)")
    parser.add_argument("--max", dest="size", metavar="SIZE", type=size, default=64 << 20, help="500k, 64M, 1G (64M)")
    text = "the file, which must not be there yet (default: capture-NODE-TIME.jsonl)"
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help=text)


def run(arguments: argparse.Namespace) -> int:
    path = _socket(arguments)
    file = arguments.output or Path(f"capture-{arguments.node or 'all'}-{time.strftime('%Y%m%d-%H%M%S')}.jsonl")
    # A shell starts what runs in its background with interrupts ignored; a capture is to end by one all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with socket.socket(socket.AF_UNIX) as asking:
        _ask(asking, path, arguments)
        with _made(file) as written:
            _copy(asking, written)
    return _told(file, path)


def seconds(text: str) -> float:
    """`90`, `90s`, `5m` or `1h`."""
    return _number(text, r"smh", _UNITS)


def size(text: str) -> int:
    """`5000000`, `500k`, `64M` or `1G`, bytes."""
    return int(_number(text, r"kmg", _SIZES))


def _number(text: str, units: str, worth: dict[str, int]) -> float:
    seen = re.fullmatch(rf"(\d{{1,9}}(?:\.\d+)?)([{units}]?)", text.lower())
    if seen is None or not float(seen[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 with one of the letters {units}")
    return float(seen[1]) * worth[seen[2]]


def _ask(asking: socket.socket, path: Path, arguments: argparse.Namespace) -> None:
    question = {"node": arguments.node, "seconds": arguments.seconds, "bytes": arguments.size}
    asking.settimeout(arguments.seconds + _PATIENCE)
    try:
        asking.connect(str(path))
        asking.sendall(json.dumps(question).encode() + b"\n")
    except OSError as error:
        why = f"nobody can be asked for a capture at {path}: {error.strerror or error}"
        raise InstallError(f"{why}; is the daemon running, and are you its user or root?") from error


def _made(file: Path) -> BinaryIO:
    try:
        return open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
    except FileExistsError as error:
        raise InstallError(f"{file} is there already; name another: -o FILE") from error
    except OSError as error:
        raise InstallError(f"{file} cannot be written: {error.strerror}; name another: -o FILE") from error


def _copy(asking: socket.socket, written: BinaryIO) -> None:
    """Write what comes until the daemon has said all; Ctrl-C asks it to come to an end."""
    while True:
        try:
            if not _more(asking, written):
                return
        except KeyboardInterrupt:
            asking.settimeout(_PATIENCE)
            with contextlib.suppress(OSError):
                asking.shutdown(socket.SHUT_WR)


def _more(asking: socket.socket, written: BinaryIO) -> bool:
    try:
        part = asking.recv(_CHUNK)
        written.write(part)
        written.flush()
    except TimeoutError:
        return False
    except OSError as error:
        raise InstallError(f"the capture ends here: {error.strerror or error}") from error
    return bool(part)


def _told(file: Path, path: Path) -> int:
    """Say what the file has, by its first and last line alone: it may be a gigabyte long."""
    first, last, whole = _ends(file)
    try:
        end = capture.ending(first, last, str(file))
    except MessageError as error:
        said = first[:_QUOTED].decode(errors="replace").strip()
        file.unlink()
        raise InstallError(f"no capture came from {path}: {said or error}") from error
    if end is None:
        print(
            f"{file}: {whole} bytes; it has no end: whoever wrote it was stopped. It is good up to its last whole line"
        )
        return 1
    missing = f", {end.dropped} left out, which came too fast" if end.dropped else ""
    print(f"{file}: {end.messages} messages of {', '.join(end.nodes) or 'no node'}{missing}")
    print(f"it ended because {end.why}; play it: octoedge replay {file}")
    return 0


def _ends(file: Path) -> tuple[bytes, bytes, int]:
    """The first line, the last, and how long the file is."""
    with file.open("rb") as lines:
        first = lines.readline(_LINE)
        whole = lines.seek(0, os.SEEK_END)
        lines.seek(max(0, whole - _LINE))
        return first, lines.read().rstrip(b"\n").rpartition(b"\n")[2], whole


def _socket(arguments: argparse.Namespace) -> Path:
    path = arguments.socket or _of_installation(arguments.source, arguments.node)
    return path if path.name.endswith(".capture.sock") else beside(path, "capture")


def _of_installation(source: str, name: str) -> Path:
    installed = layout.existing(os.environ, "name the daemon's status socket: --socket FILE")
    if source == capture.CLOUD:
        return installed.cloud / "cloudcore.sock"
    nodes = register.load(installed).nodes()
    node = next((node for node in nodes if name in ("", node.node)), None)
    if node is None:
        raise InstallError(f"no node {name} on this machine; name its status socket: --socket FILE")
    return node.edge / "edgecore.sock"
