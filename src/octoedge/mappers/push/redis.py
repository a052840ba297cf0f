"""Values as members of a sorted set of Redis: `ZADD {device} {ms} {"DeviceName":…,"Value":…}`.

The key is the device's name, without its namespace, and the member is the JSON that KubeEdge's mappers write. The
password is `PASSWORD` of the mapper's environment. Adding a member again changes nothing, so a repetition is none.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

import msgspec
from redis import asyncio as client
from redis import exceptions as errors
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from octoedge.errors import TransportError
from octoedge.mappers.push import settings
from octoedge.mappers.push.sending import Sample, Taken

SECONDS = 10.0
_GO = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
"""Go writes these so in JSON; a member that is written otherwise would be another one."""


class _Member(msgspec.Struct, frozen=True, rename="pascal"):
    device_name: str
    property_name: str
    namespace: str
    value: str
    type: str
    time_stamp: int


def member(sample: Sample) -> str:
    """The JSON of one value."""
    said = _Member(sample.device, sample.prop, sample.namespace, sample.value, sample.type, sample.time)
    return msgspec.json.encode(said).decode().translate(_GO)


class Sender:
    """Implements `sending.Sender` for one database."""

    batch = 500

    def __init__(self, target: settings.Target, _group: asyncio.TaskGroup) -> None:
        assert isinstance(target, settings.Redis)
        self._place = target.place
        self._redis = client.Redis(
            host=target.host, port=target.port, db=target.db, password=os.environ.get("PASSWORD") or None,
            socket_timeout=SECONDS, socket_connect_timeout=SECONDS, max_connections=1, retry=Retry(NoBackoff(), 0),
        )  # fmt: skip

    async def send(self, samples: Sequence[Sample]) -> Taken:
        """All members in one go."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for sample in samples:
                    pipe.zadd(sample.device, {member(sample): sample.time})
                answers = await pipe.execute(raise_on_error=False)
        except (errors.RedisError, OSError) as error:
            raise TransportError(f"redis {self._place}: {str(error) or type(error).__name__}") from error
        pairs = list(zip(samples, answers, strict=True))
        refused = [(sample, str(said)) for sample, said in pairs if _wrong_type(said)]
        left = [(sample, said) for sample, said in pairs if isinstance(said, Exception) and not _wrong_type(said)]
        why = f"redis {self._place}: {left[0][1]}" if left else ""
        return Taken([sample for sample, _ in left], why, refused)

    async def close(self) -> None:
        """End the connection."""
        await self._redis.aclose()


def _wrong_type(said: object) -> bool:
    """The key is there as something else; that will not change by itself."""
    return isinstance(said, errors.ResponseError) and str(said).startswith("WRONGTYPE")
