"""Unix sockets by which a daemon is asked on its own machine: mode 0600, for whoever the daemon runs as, and root.

    status socket     {"node": …, "connected": true, "hub": "connected", "since": …, "trouble": "", …}

answers one line of JSON to every connection and closes it; nothing is read from it. The daemon's `health` fills it in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

log = logging.getLogger(__name__)

_MAX_PATH = 107
"""Bytes that the path of a Unix socket may have."""

_ANSWER_SECONDS = 5.0
_SETTING = "octoedge.statusSocket"

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def listen(path: Path, answer: Answer) -> asyncio.Server:
    """Listen at `path` in place of what a killed process left there; `OSError` when that cannot be."""
    if len(os.fsencode(path)) > _MAX_PATH:
        raise OSError(f"the path is longer than {_MAX_PATH} bytes; set {_SETTING} to a shorter one")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # of a socket: nothing to wait for
    made = _bound(path)
    try:
        return await asyncio.start_unix_server(answer, sock=made)
    except BaseException:
        made.close()
        raise


async def serve(path: Path, answer: Answer) -> None:
    """Listen at `path` until cancelled, and take it away then. Raises `OSError` when that cannot be."""
    server = await listen(path, answer)
    try:
        await asyncio.Event().wait()
    finally:
        server.close()
        with contextlib.suppress(OSError):
            os.unlink(path)


def _bound(path: Path) -> socket.socket:
    """A socket with its mode from the first moment on. The umask is that of every thread, and others make files."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(made.fileno(), 0o600)  # of what `bind` makes: Linux takes the socket's own mode
        made.bind(os.fspath(path))
    except OSError:
        made.close()
        raise
    return made


def beside(path: Path, what: str) -> Path:
    """The socket for another purpose beside the status socket: `edgecore.sock` → `edgecore.capture.sock`."""
    return path.with_name(f"{path.name.removesuffix('.sock')}.{what}.sock")


class StatusSocket:
    """A module: answers `health()` to every connection."""

    name = "status socket"
    needs: tuple[str, ...] = ()

    def __init__(self, path: Path, health: Callable[[], dict[str, Any]]) -> None:
        self._path = path
        self._health = health

    async def run(self, ready: Callable[[], None]) -> None:
        """Answer until cancelled. Without a socket the daemon runs all the same, and says so."""
        ready()
        try:
            await serve(self._path, self._answer)
        except OSError as error:
            log.warning("no status socket at %s: %s", self._path, error)

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                writer.write(msgspec.json.encode(self._health()) + b"\n")
                await writer.drain()
        writer.close()
