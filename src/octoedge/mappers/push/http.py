"""Values as a posted form, as KubeEdge's mappers write it:

    POST {hostName}:{port}{requestPath}        temperature=21.5&time=2026-01-31 09:15:00

The time is local. KubeEdge writes the text as it is; here a value's `%`, `&`, `+`, `;` and control characters are
written as forms have them, or it would arrive as another value.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from octoedge.errors import TransportError, ValueRefused
from octoedge.mappers.push.sending import Sample, Taken
from octoedge.mappers.push.settings import Http, Target
from octoedge.mappers.push.web import Web

_HEADERS = {"Content-Type": "application/x-www-form-urlencoded"}
_LANES = 16
"""Requests at a time; of one property one at a time."""
_SECONDS = 30.0
"""After so long a batch begins no further request."""
_VALUE = str.maketrans({sign: f"%{ord(sign):02X}" for sign in "%&+;" + "".join(map(chr, range(32))) + "\x7f"})
_NAME = {**_VALUE, ord("="): "%3D"}


def form(sample: Sample) -> bytes:
    """The body of one request."""
    name, value = sample.prop.translate(_NAME), sample.value.translate(_VALUE)
    return f"{name}={value}&time={local_time(sample.time)}".encode()


def local_time(milliseconds: int) -> str:
    """`2026-01-31 09:15:00` in the machine's time zone."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


class Sender:
    """Implements `sending.Sender` for one web server."""

    batch = 64

    def __init__(self, target: Target, _group: asyncio.TaskGroup) -> None:
        self._place = target.place
        self._web = Web(_LANES)

    async def send(self, samples: Sequence[Sample]) -> Taken:
        """A request for each value; the first failure ends the batch, what is left is named."""
        return await _Batch(self._web, self._place, samples).send()

    async def close(self) -> None:
        """End the connections."""
        await self._web.close()


class _Batch:
    """Some values on their way."""

    def __init__(self, web: Web, place: str, samples: Sequence[Sample]) -> None:
        self._web = web
        self._place = place
        self._samples = samples
        self._done: set[int] = set()
        self._refused: list[tuple[Sample, str]] = []
        self._why = ""
        self._lanes = asyncio.Semaphore(_LANES)
        self._until = asyncio.get_running_loop().time() + _SECONDS

    async def send(self) -> Taken:
        streams: dict[tuple[str, ...], list[int]] = {}
        for number, sample in enumerate(self._samples):
            streams.setdefault(sample.stream, []).append(number)
        async with asyncio.TaskGroup() as group:
            for stream, numbers in streams.items():
                group.create_task(self._stream(numbers), name=f"values of {'/'.join(stream)}")
        left = [sample for number, sample in enumerate(self._samples) if number not in self._done]
        return Taken(left, self._why, self._refused)

    async def _stream(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            async with self._lanes:
                if self._why:
                    return
                if asyncio.get_running_loop().time() > self._until:
                    self._why = f"{self._place} is slow: {len(self._done)} values took it {_SECONDS:.0f} s"
                    return
                await self._post(number)

    async def _post(self, number: int) -> None:
        sample = self._samples[number]
        if not isinstance(sample.target, Http):
            return
        try:
            await self._web.post(sample.target.url, form(sample), _HEADERS, shown=self._place)
        except ValueRefused as error:
            self._refused.append((sample, str(error)))
        except TransportError as error:
            self._why = str(error)
            return
        self._done.add(number)
