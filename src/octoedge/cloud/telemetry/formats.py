"""Values as other systems read them. Pure.

influxdb   temperature,namespace=default,device=thermometer value=21.5 1790000000000         (line protocol, ms)
prometheus see `remotewrite`
http, mqtt {"device":"default/thermometer","property":"temperature","time":1790000000000,"value":"21.5"}
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import msgspec

_MEASUREMENT = str.maketrans({",": "\\,", " ": "\\ ", "\n": "\\n"})
_TAG = str.maketrans({",": "\\,", " ": "\\ ", "=": "\\=", "\n": "\\n"})
_TEXT = str.maketrans({'"': '\\"', "\\": "\\\\"})
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_TOPIC = str.maketrans({"+": "_", "#": "_", "/": "_", "\0": "_"})


class Value(msgspec.Struct, frozen=True):
    """One value of a property."""

    device: str
    """`<namespace>/<name>`"""
    property: str
    time: int
    """ms since the Unix epoch"""
    value: str


def influx(values: Iterable[Value]) -> bytes:
    """Line protocol: the property is the measurement; numbers in the field `value`, true and false in `state`, other
    texts in `text`, since a field has one type for ever."""
    return "\n".join(map(_influx_line, values)).encode()


def lines(values: Iterable[Value]) -> bytes:
    """A JSON object in each line."""
    return b"\n".join(map(msgspec.json.encode, values)) + b"\n"


def topic(pattern: str, value: Value) -> str:
    """`{namespace}`, `{device}` and `{property}` put in; what means something in a topic is `_` there."""
    namespace, _, device = value.device.partition("/")
    named = {"namespace": namespace, "device": device, "property": value.property}
    for name, text in named.items():
        pattern = pattern.replace(f"{{{name}}}", text.translate(_TOPIC))
    return pattern


def _influx_line(value: Value) -> str:
    namespace, _, device = value.device.partition("/")
    tags = f"namespace={namespace.translate(_TAG)},device={device.translate(_TAG)}"
    measurement = value.property.translate(_MEASUREMENT)
    if measurement.startswith("#"):
        measurement = f"\\{measurement}"  # the line would be a comment, and be taken without a word
    return f"{measurement},{tags} {_influx_field(value.value)} {value.time}"


def number(text: str) -> float | None:
    """The number that a value is; None for other texts, and for what no number can hold."""
    if not _NUMBER.fullmatch(text):
        return None
    found = float(text)
    return found if math.isfinite(found) else None


def _influx_field(text: str) -> str:
    found = number(text)
    if found is not None:
        return f"value={found!r}"
    if text in ("true", "false"):
        return f"state={text}"
    return f'text="{text.translate(_TEXT)}"'
