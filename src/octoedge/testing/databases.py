"""A real Redis and a real MariaDB for tests, on free ports of the loopback, that may be killed and started again."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from pathlib import Path

from octoedge.testing.eventually import listening

_PATH = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
_SECONDS = 30.0


class _Server:
    """A process that listens on a port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._process: asyncio.subprocess.Process | None = None

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def kill(self) -> None:
        """kill -9; nothing happens when it does not run."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _run(self, *command: str) -> None:
        """Start it, and return when it takes connections."""
        log = await asyncio.to_thread((self.folder / "log").open, "ab")
        self._process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        log.close()
        await listening(self.port, within=_SECONDS)


class RedisServer(_Server):
    """`async with RedisServer(folder) as server`; `flags` are further ones of redis-server."""

    def __init__(self, folder: Path, *flags: str) -> None:
        super().__init__(folder)
        self._flags = flags

    async def __aenter__(self) -> RedisServer:
        await self.start()
        return self

    async def start(self) -> None:
        """Start it, empty."""
        program = shutil.which("redis-server", path=_PATH) or "redis-server"
        port = ("--port", str(self.port), "--bind", "127.0.0.1")
        await self._run(program, *port, "--save", "", "--dir", str(self.folder), *self._flags)


_SCRIPTS = (Path("/usr/share/mysql"), Path("/usr/share/mariadb"))
_TABLES = ("system_tables", "system_tables_data")
_BEGIN = b"""CREATE DATABASE site;
FLUSH PRIVILEGES;
CREATE USER mapper@'127.0.0.1' IDENTIFIED BY 'secret';
GRANT ALL ON site.* TO mapper@'127.0.0.1';
"""


class MariaDb(_Server):
    """`async with MariaDb(folder) as server`: a database `site`, and a user `mapper` with the password `secret`."""

    async def __aenter__(self) -> MariaDb:
        await self._make()
        await self.start()
        return self

    async def start(self) -> None:
        """Start it with the tables that it has."""
        files = (f"--socket={self.folder}/s", f"--pid-file={self.folder}/pid")
        network = ("--bind-address=127.0.0.1", f"--port={self.port}", "--skip-name-resolve")
        await self._run(*self._program(), *network, *files, "--innodb-flush-log-at-trx-commit=0")

    async def _make(self) -> None:
        # What mariadb-install-db does; that needs a package of clients of its own.
        await asyncio.to_thread((self.folder / "data" / "mysql").mkdir, parents=True)
        texts = await asyncio.to_thread(_first_tables)
        made = await asyncio.create_subprocess_exec(
            *self._program(), "--bootstrap", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(_SECONDS):
            _, said = await made.communicate(b"use mysql;\n" + b"\n".join(texts) + b"\n" + _BEGIN)
        if made.returncode:
            raise AssertionError(f"MariaDB's first tables were not made: {said.decode()[-1000:]}")

    def _program(self) -> tuple[str, ...]:
        small = ("--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M")
        program = shutil.which("mariadbd", path=_PATH) or "mariadbd"
        return (program, "--no-defaults", f"--datadir={self.folder}/data", *_user(), *small)


def _first_tables() -> list[bytes]:
    found = [next(folder.glob(f"*_{name}.sql"), None) for name in _TABLES for folder in _SCRIPTS if folder.is_dir()]
    return [path.read_bytes() for path in found if path is not None]


def _user() -> tuple[str, ...]:
    return ("--user=root",) if os.geteuid() == 0 else ()
