"""Numbers as gauges, by OTLP over HTTP in protobuf, as OpenTelemetry's own exporters send them.

    POST {endpointURL}    resource {device.id = namespace/device}, gauge named after the property, a double each

The request is four messages deep and has eight fields, so it is written here: OpenTelemetry's own SDK adds
9.1 MiB to a mapper's memory (this 0.8), and reads gauges on a beat of its own. Protobuf and not JSON because receivers
that take only one of the two take protobuf. true and false are 1 and 0; what is no number is refused.
"""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Sequence

from octoedge.errors import MessageError, TransportError
from octoedge.mappers.push.sending import Sample, Taken
from octoedge.mappers.push.settings import Otel, Target
from octoedge.mappers.push.web import Web
from octoedge.protocol.protobuf import Codec, Message

_HEADERS = {"Content-Type": "application/x-protobuf"}
_TRUTH = {"true": 1.0, "false": 0.0}
_SCOPE = "octoedge"


class _Partial(Message, frozen=True):
    """ExportMetricsPartialSuccess"""

    rejected: int = 0
    why: str = ""
    WIRE = "rejected:1:i why:2:s"


class _Answer(Message, frozen=True):
    """ExportMetricsServiceResponse"""

    partial: _Partial | None = None
    WIRE = "partial:1:_Partial"


_CODEC = Codec({"_Partial": _Partial})


class Sender:
    """Implements `sending.Sender` for one collector."""

    batch = 500

    def __init__(self, target: Target, _group: asyncio.TaskGroup) -> None:
        self._target = target
        self._web = Web()

    async def send(self, samples: Sequence[Sample]) -> Taken:
        """All numbers in one request."""
        target = self._target
        assert isinstance(target, Otel)
        numbers = [(sample, number(sample.value)) for sample in samples]
        good = [(sample, value) for sample, value in numbers if value is not None]
        refused = [(sample, "it is no number, and gauges are numbers") for sample, value in numbers if value is None]
        if good:
            try:
                answer = await self._web.post(target.url, request(good), _HEADERS, shown=target.place)
            except TransportError as error:
                return Taken([sample for sample, _ in good], str(error), refused)
            why = rejected(answer)
            refused += [(good[-1][0], f"{target.place} says: {why}")] if why else []
        return Taken(refused=refused)

    async def close(self) -> None:
        """End the connection."""
        await self._web.close()


def number(text: str) -> float | None:
    """The number that a value is."""
    try:
        found = _TRUTH[text] if text in _TRUTH else float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def request(values: Sequence[tuple[Sample, float]]) -> bytes:
    """An ExportMetricsServiceRequest: a resource for each device, a gauge for each of its properties."""
    devices: dict[str, dict[str, list[bytes]]] = {}
    for sample, value in values:
        gauges = devices.setdefault(f"{sample.namespace}/{sample.device}", {})
        # NumberDataPoint: time_unix_nano 3 (fixed64), as_double 4; zero is written too, for it is in a oneof.
        point = b"\x19" + struct.pack("<Q", sample.time * 1_000_000) + b"\x21" + struct.pack("<d", value)
        gauges.setdefault(sample.prop, []).append(_field(1, point))
    return b"".join(_field(1, _resource_metrics(device, gauges)) for device, gauges in devices.items())


def rejected(answer: bytes) -> str:
    """Why the server took only a part; empty when it took all, or answers something that is none of OTLP."""
    try:
        partial = _CODEC.decode(answer, _Answer).partial
    except MessageError:
        return ""
    return f"{partial.rejected} rejected: {partial.why[:200]}" if partial is not None and partial.rejected else ""


def _resource_metrics(device: str, gauges: dict[str, list[bytes]]) -> bytes:
    value = _field(1, device.encode())
    attribute = _field(1, b"device.id") + _field(2, value)
    metrics = b"".join(
        _field(2, _field(1, name.encode()) + _field(5, b"".join(points))) for name, points in gauges.items()
    )
    scope = _field(1, _field(1, _SCOPE.encode()))
    return _field(1, _field(1, attribute)) + _field(2, scope + metrics)


def _field(number: int, data: bytes) -> bytes:
    size, head = len(data), bytearray((number << 3 | 2,))
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + data
