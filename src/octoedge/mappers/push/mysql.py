"""Values as rows of MySQL or MariaDB: a table `{namespace}/{device}/{property}` (id, ts, field) for each property.

The tables are KubeEdge's and are made when they are not there; `ts` is local time. The user is in the Device,
the password is `PASSWORD` of the mapper's environment.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import aiomysql
import pymysql

from octoedge.errors import TransportError, ValueRefused
from octoedge.mappers.push import settings
from octoedge.mappers.push.http import local_time
from octoedge.mappers.push.sending import Sample, Taken

SECONDS = 10.0
_COLUMNS = "(`id` INT NOT NULL AUTO_INCREMENT PRIMARY KEY, `ts` DATETIME, `field` TEXT) DEFAULT CHARSET = utf8mb4"


def table(sample: Sample) -> str:
    """Quoted, as it stands in a statement with arguments."""
    name = f"{sample.namespace}/{sample.device}/{sample.prop}"
    return "`" + name.replace("`", "``").replace("%", "%%") + "`"


class Sender:
    """Implements `sending.Sender` for one database."""

    batch = 500

    def __init__(self, target: settings.Target, _group: asyncio.TaskGroup) -> None:
        assert isinstance(target, settings.MySql)
        self._target = target
        self._place = f"MySQL {target.place}"
        self._connection: Any = None
        self._made: set[str] = set()

    async def send(self, samples: Sequence[Sample]) -> Taken:
        """All rows in one transaction."""
        try:
            async with asyncio.timeout(SECONDS):
                await self._store(samples)
        except (pymysql.err.DataError, pymysql.err.IntegrityError) as error:
            await self._rolled_back()
            raise ValueRefused(f"{self._place}: {_words(error)}") from error
        except (pymysql.err.MySQLError, OSError, RuntimeError) as error:
            raise TransportError(f"{self._place}: {_words(error)}") from error
        except TimeoutError as error:
            raise TransportError(f"{self._place} does not answer within {SECONDS:.0f} s") from error
        return Taken()

    async def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def _store(self, samples: Sequence[Sample]) -> None:
        tables: dict[str, list[tuple[str, str]]] = {}
        for sample in samples:
            tables.setdefault(table(sample), []).append((local_time(sample.time), sample.value))
        self._connection = self._connection or await self._connected()
        async with self._connection.cursor() as cursor:
            for name in tables.keys() - self._made:
                await cursor.execute(f"CREATE TABLE IF NOT EXISTS {name.replace('%%', '%')} {_COLUMNS}")
                self._made.add(name)
            for name, rows in tables.items():
                # The table's name is quoted, and MySQL knows no argument for it.
                await cursor.executemany(f"INSERT INTO {name} (`ts`, `field`) VALUES (%s, %s)", rows)  # noqa: S608
        await self._connection.commit()

    async def _connected(self) -> Any:
        target = self._target
        self._made.clear()
        return await aiomysql.connect(
            host=target.host, port=target.port, db=target.database, user=target.user,
            password=os.environ.get("PASSWORD", ""), connect_timeout=SECONDS, charset="utf8mb4",
            init_command="SET sql_notes = 0",  # a table that is there already is no news
        )  # fmt: skip

    async def _rolled_back(self) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                await self._connection.rollback()
        except (pymysql.err.MySQLError, OSError, RuntimeError, TimeoutError):
            await self.close()


def _words(error: Exception) -> str:
    """`1045: Access denied …` instead of a tuple."""
    return ": ".join(map(str, error.args))[:300] or type(error).__name__
