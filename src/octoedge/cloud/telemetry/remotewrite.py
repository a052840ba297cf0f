"""Values as Prometheus' remote write (version 1) takes them: a WriteRequest of samples, packed by snappy. Pure.

    octoedge_temperature{device="thermometer", namespace="default", property="temperature"} 21.5  @ms

Samples are numbers: true and false count as 1 and 0, other texts stay out. A series has its samples in the order of
their times, one for each millisecond. The metric is named after the property, with `_` for what a name cannot have; two
properties whose names become the same keep their own series by the label `property`. Snappy is the extra `prometheus`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from octoedge.cloud.telemetry.formats import Value, number
from octoedge.errors import ConfigError
from octoedge.protocol.protobuf import Codec, Message
from octoedge.version import VERSION

HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
    "User-Agent": f"octoedge/{VERSION}",
}
NO_NUMBER, SAME_TIME = "no number", "another value has the same time"
_ILLEGAL = re.compile("[^a-zA-Z0-9_]")
_SWITCH = {"true": 1.0, "false": 0.0}


class Label(Message, frozen=True):
    """A name and its text."""

    WIRE: ClassVar[str] = "name:1:s value:2:s"
    name: str = ""
    value: str = ""


class Sample(Message, frozen=True):
    """A number and its time, ms since the Unix epoch."""

    WIRE: ClassVar[str] = "value:1:d timestamp:2:i"
    value: float = 0.0
    timestamp: int = 0


class TimeSeries(Message, frozen=True):
    """Labels in the order of their names, samples in the order of their times."""

    WIRE: ClassVar[str] = "labels:1:*Label samples:2:*Sample"
    labels: tuple[Label, ...] = ()
    samples: tuple[Sample, ...] = ()


class WriteRequest(Message, frozen=True):
    """What is posted."""

    WIRE: ClassVar[str] = "timeseries:1:*TimeSeries"
    timeseries: tuple[TimeSeries, ...] = ()


CODEC = Codec({kind.__name__: kind for kind in (Label, Sample, TimeSeries, WriteRequest)})


class Written(msgspec.Struct, frozen=True):
    """A request, and what is not in it."""

    body: bytes
    samples: int
    left_out: dict[str, int]
    """How many values, by why."""


def written(values: Sequence[Value]) -> Written:
    """The request with these values, in series; without a body when no value is a number.

    Raises `ConfigError` when snappy is not there.
    """
    series: dict[tuple[str, str], dict[int, float]] = {}
    numbers = 0
    for value in values:
        found = _SWITCH.get(value.value, number(value.value))
        if found is not None:
            numbers += 1
            series.setdefault((value.device, value.property), {})[value.time] = found
    samples = sum(map(len, series.values()))
    left_out = {NO_NUMBER: len(values) - numbers, SAME_TIME: numbers - samples}
    request = WriteRequest(
        tuple(
            TimeSeries(labels(device, name), tuple(Sample(found, time) for time, found in sorted(some.items())))
            for (device, name), some in series.items()
        )
    )
    body = _snappy(CODEC.encode(request, WriteRequest)) if samples else b""
    return Written(body, samples, {why: count for why, count in left_out.items() if count})


def labels(device: str, name: str) -> tuple[Label, ...]:
    """Of a property's series (`device`: namespace and name), sorted by their names as the receiver demands."""
    namespace, _, short = device.partition("/")
    texts = {"__name__": metric(name), "namespace": namespace, "device": short, "property": name}
    return tuple(Label(key, text) for key, text in sorted(texts.items()))


def metric(name: str) -> str:
    """`octoedge_` and the property, as a legal name."""
    return f"octoedge_{_ILLEGAL.sub('_', name)}"


def _snappy(data: bytes) -> bytes:
    """Snappy's block format, which remote write demands (not the one for streams)."""
    try:
        from cramjam import snappy
    except ImportError as error:
        hint = f"a package that is not installed ({error}); `pip install 'octoedge[prometheus]'`"
        raise ConfigError(f"octoedge.telemetry.exports: kind prometheus needs {hint}") from error
    return bytes(snappy.compress_raw(data))
