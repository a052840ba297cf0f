"""Twins as messages say them: JSON in, typed objects, JSON out (KubeEdge's DeviceTwin payloads).

A `Twin` is one property: what it should be (`expected`) and what it is (`actual`), each a value with its time and a
version that counts what cloud and edge did to it. `null` instead of a twin deletes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from octoedge.errors import MessageError

KEY = re.compile(r"[a-zA-Z0-9\-_.,:/@#]{1,128}")
MAX_VALUE = 4096
"""Characters of a value. KubeEdge allows 512 of a few kinds; a text with a blank or an umlaut is a value too."""
MAX_TWINS = 1000
"""Properties in one message."""
MAX_NOTES = 8
MAX_NOTE = 256
"""So many further remarks (`quality`, `reason` …) of so many characters may come with a value."""
DELETED = "deleted"
"""The type of a twin that is gone."""


class Version(msgspec.Struct, frozen=True):
    """How often either side has changed a part."""

    cloud: int = 0
    edge: int = 0


class Value(msgspec.Struct, frozen=True, omit_defaults=True):
    """A value as the wire says it; `metadata` holds `timestamp` (ms, a number) and remarks (texts)."""

    value: str | None = None
    metadata: dict[str, Any] | None = None

    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch; 0 when unknown."""
        stamp = (self.metadata or {}).get("timestamp", 0)
        return stamp if isinstance(stamp, int) else 0


class TypeMetadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of all values of a twin."""

    type: str | None = None


class Twin(msgspec.Struct, frozen=True, omit_defaults=True):
    """One property, as a message says it; what it leaves out is not changed."""

    expected: Value | None = None
    actual: Value | None = None
    optional: bool | None = None
    metadata: TypeMetadata | None = None
    expected_version: Version | None = None
    actual_version: Version | None = None

    @property
    def type(self) -> str:
        """The type that the message names; empty when it names none."""
        return (self.metadata.type if self.metadata else None) or ""

    def plain(self) -> Twin:
        """Without versions, as MQTT clients see it."""
        return msgspec.structs.replace(self, expected_version=None, actual_version=None)


class TwinMessage(msgspec.Struct, frozen=True):
    """`{"event_id": …, "timestamp": ms, "twin": {property: Twin or null}}`"""

    twin: dict[str, Twin | None] | None = None
    event_id: str = ""
    timestamp: int = 0


class StateMessage(msgspec.Struct, frozen=True):
    """`{"event_id": …, "timestamp": ms, "state": …}`"""

    state: str
    event_id: str = ""
    timestamp: int = 0


class Question(msgspec.Struct, frozen=True):
    """`{"event_id": …}`: a question without further content."""

    event_id: str = ""
    timestamp: int = 0


def read_twins(body: bytes) -> TwinMessage:
    """A twin update; `MessageError` says what is wrong with it."""
    message: TwinMessage = _read(body, TwinMessage)
    if not message.twin:
        raise MessageError("the update names no twin")
    check(message.twin)
    return message


def check(twins: Mapping[str, Twin | None]) -> None:
    """Names, sizes and times; `MessageError` says what is wrong and where."""
    if len(twins) > MAX_TWINS:
        raise MessageError(f"the update names {len(twins)} twins; at most {MAX_TWINS} may be")
    for key, twin in twins.items():
        _check(key, twin)


def read_state(body: bytes) -> StateMessage:
    """A report whether a device is there. KubeEdge's EdgeCore itself spells the key `State`."""
    found = _read(body, dict[str, Any])
    lower = {key.lower(): value for key, value in found.items()}
    try:
        return msgspec.convert(lower, StateMessage)
    except msgspec.ValidationError as error:
        raise MessageError(str(error)) from error


def read_question(body: bytes) -> Question:
    """A question; an empty payload is no JSON and is refused, as KubeEdge does."""
    question: Question = _read(body, Question)
    return question


def _read(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(f"the payload cannot be read: {error}") from error


def _check(key: str, twin: Twin | None) -> None:
    if not KEY.fullmatch(key):
        raise MessageError(
            f"the twin's name {key[:140]!r} is not 1 to 128 of the characters a-z A-Z 0-9 - _ . , : / @ #"
        )
    if twin is None:
        return
    for part, value in (("expected", twin.expected), ("actual", twin.actual)):
        if value is not None:
            _check_value(f"{key}.{part}", value)


def _check_value(where: str, value: Value) -> None:
    if value.value is None:
        raise MessageError(f"{where} has no value")
    if len(value.value) > MAX_VALUE:
        raise MessageError(f"{where} has {len(value.value)} characters; at most {MAX_VALUE} may be")
    notes = dict(value.metadata or {})
    stamp = notes.pop("timestamp", 0)
    if not isinstance(stamp, int):
        raise MessageError(f"{where}.metadata.timestamp is {str(stamp)[:40]!r}, not a number of milliseconds")
    if len(notes) > MAX_NOTES or any(not isinstance(note, str) or len(note) > MAX_NOTE for note in notes.values()):
        raise MessageError(f"{where}.metadata holds more than {MAX_NOTES} texts of {MAX_NOTE} characters")
