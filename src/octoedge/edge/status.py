"""How EdgeCore is, for whoever asks on this machine: a Unix socket that answers one line of JSON and closes.

    {"node": …, "connected": true, "hub": "connected", "since": …, "trouble": "", "waitingFor": […], "outbox": 0, …}

`EdgeCore.health` fills it in. The socket has mode 0600; nothing is read from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

log = logging.getLogger(__name__)

_MAX_PATH = 107
"""Bytes that the path of a Unix socket may have."""
_ANSWER_SECONDS = 5.0


class StatusSocket:
    """A module: answers `health()` to every connection."""

    name = "status socket"
    needs: tuple[str, ...] = ()

    def __init__(self, path: Path, health: Callable[[], dict[str, Any]]) -> None:
        self._path = path
        self._health = health

    async def run(self, ready: Callable[[], None]) -> None:
        """Answer until cancelled. Without a socket EdgeCore runs all the same, and says so."""
        ready()
        try:
            server = await self._listen()
        except OSError as error:
            log.warning("no status socket at %s: %s", self._path, error)
            return
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            with contextlib.suppress(OSError):
                self._path.unlink()

    async def _listen(self) -> asyncio.Server:
        if len(os.fsencode(self._path)) > _MAX_PATH:
            raise OSError(f"the path is longer than {_MAX_PATH} bytes; set octoedge.statusSocket to a shorter one")
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        before = os.umask(0o177)
        try:
            return await asyncio.start_unix_server(self._answer, self._path)
        finally:
            os.umask(before)

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                writer.write(msgspec.json.encode(self._health()) + b"\n")
                await writer.drain()
        writer.close()
