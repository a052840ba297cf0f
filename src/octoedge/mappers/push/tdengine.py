"""Values as rows of TDengine, by its REST interface.

A device is a super table `{namespace}/{device}`, each of its properties a sub table
`{namespace}/{device}/{property}`, with `-` and `.` as `_`. KubeEdge's mappers mean the same super table, with which a
real server refuses them: the `/` is not quoted; their sub table is the property's bare name, which only one device of a
database could have.
User and password are `USERNAME` and `PASSWORD` of the mapper's environment.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Sequence
from typing import Any

import msgspec

from octoedge.errors import TransportError, ValueRefused
from octoedge.mappers.push.sending import Sample, Taken
from octoedge.mappers.push.settings import Target, TdEngine
from octoedge.mappers.push.web import Web
from octoedge.runtime.clock import rfc3339

MAX_BYTES = 64
"""Of a value, and of the other columns."""
_TABLE = str.maketrans({"-": "_", ".": "_"})
_TEXT = str.maketrans({"'": "\\'", "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_COLUMNS = ", ".join(f"{name} BINARY({MAX_BYTES})" for name in ("deviceid", "propertyname", "data", "type"))
_STATEMENT, _NO_TABLE = 0x2600, 0x2603
"""Codes 0x26xx are about the statement; this one goes away when the table is made again."""


def super_table(sample: Sample) -> str:
    """Quoted."""
    return f"`{sample.namespace}/{sample.device}`".translate(_TABLE)


def sub_table(sample: Sample) -> str:
    """Quoted; a property's own dashes stay, for `a-b` and `a_b` are two of them."""
    name = sample.prop.replace(".", "_").replace("`", "_")
    return f"{super_table(sample)[:-1]}/{name}`"


def create(sample: Sample) -> str:
    """The statement that makes a device's super table."""
    return f"CREATE STABLE IF NOT EXISTS {super_table(sample)} (ts TIMESTAMP, {_COLUMNS}) TAGS (location BINARY(64))"


def insert(samples: Sequence[Sample]) -> str:
    """The statement that stores values."""
    return "INSERT INTO " + " ".join(map(_row, samples))


def _row(sample: Sample) -> str:
    stamp = f"{rfc3339(sample.time // 1000)[:-1]}.{sample.time % 1000:03d}Z"
    columns = (stamp, f"{sample.namespace}/{sample.device}", sample.prop, sample.value, sample.type)
    said = ", ".join(f"'{column.translate(_TEXT)}'" for column in columns)
    return f"{sub_table(sample)} USING {super_table(sample)} TAGS ('{sample.prop.translate(_TEXT)}') VALUES ({said})"


class Sender:
    """Implements `sending.Sender` for one database."""

    batch = 200

    def __init__(self, target: Target, _group: asyncio.TaskGroup) -> None:
        assert isinstance(target, TdEngine)
        self._url = f"{target.url}/rest/sql/{target.database}"
        self._shown = target.place
        pair = f"{os.environ.get('USERNAME', '')}:{os.environ.get('PASSWORD', '')}"
        self._headers = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        self._web = Web()
        self._made: set[str] = set()

    async def send(self, samples: Sequence[Sample]) -> Taken:
        """One statement for all, after one for each device that is new here."""
        good = [sample for sample in samples if _fits(sample)]
        why = f"a value, name or type of it is longer than {MAX_BYTES} bytes, TDengine's column"
        refused = [(sample, why) for sample in samples if not _fits(sample)]
        try:
            for sample in good:
                if super_table(sample) not in self._made:
                    await self._do(create(sample))
                    self._made.add(super_table(sample))
            if good:
                await self._do(insert(good))
        except TransportError as error:
            return Taken(good, str(error), refused)
        return Taken(refused=refused)

    async def close(self) -> None:
        """End the connection."""
        await self._web.close()

    async def _do(self, statement: str) -> None:
        answer = await self._web.post(self._url, statement.encode(), self._headers, shown=self._shown)
        try:
            said: dict[str, Any] = msgspec.json.decode(answer, type=dict[str, Any])
            code = int(said["code"])
        except (msgspec.DecodeError, LookupError, TypeError, ValueError) as error:
            raise TransportError(f"{self._shown} answers what no TDengine does: {answer[:60]!r}") from error
        if code:
            self._made.clear()
            text = f"{self._shown}: {str(said.get('desc', ''))[:200]} (code {code:#x})"
            raise ValueRefused(text) if code & 0xFF00 == _STATEMENT and code != _NO_TABLE else TransportError(text)


def _fits(sample: Sample) -> bool:
    texts = (f"{sample.namespace}/{sample.device}", sample.prop, sample.value, sample.type)
    return all(len(text.encode()) <= MAX_BYTES for text in texts)
