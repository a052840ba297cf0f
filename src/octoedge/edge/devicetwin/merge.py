"""The algebra of twins: what is stored and what a message says → what is stored then, and what is told. Pure.

Local messages (MQTT, DMI) win by coming: the edge's version grows by one. The cloud's old road (`cloud_updated`) wins
only with a version that is not behind the edge's, else the edge's form is sent up again. A desired value in a Device
object counts when it differs from the one that the Device said before, so that a value which was set here meanwhile is
not taken back by an unrelated change of the Device.

A part that is present is a change even if its value is the same: its time is new.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from octoedge.edge.devicetwin.twin import DELETED, MAX_NOTE, Twin, TypeMetadata, Value, Version
from octoedge.errors import MessageError

Twins = Mapping[str, "Stored"]


class Stored(msgspec.Struct, frozen=True):
    """One property as it is kept; a deleted one is kept as a tombstone, for its versions."""

    type: str = "string"
    optional: bool = True
    expected: Value | None = None
    actual: Value | None = None
    expected_version: Version = Version()
    actual_version: Version = Version()
    desired: str = ""
    """The desired value that the Device object said last."""
    declared: bool = False
    """Whether the Device object names this property; MQTT clients may make further ones."""
    unfit: str = ""
    """Why the desired value cannot be a value of this property, says its model."""
    unheard: str = ""
    """Why the mapper has not applied it."""

    @property
    def deleted(self) -> bool:
        """Whether this is a tombstone."""
        return self.type == DELETED

    @property
    def pending(self) -> bool:
        """Whether the device is not yet as it should be."""
        if self.deleted or self.expected is None:
            return False
        return self.actual is None or self.actual.value != self.expected.value

    def wish(self, now: int) -> Twin:
        """As the cloud is told of the desired value: that it came here, and why it is not applied, when that is so."""
        why = self.unfit or self.unheard
        notes: dict[str, Any] = {"timestamp": now, **({"reason": why[:MAX_NOTE]} if why else {})}
        return Twin(expected=Value(self.desired, notes), metadata=TypeMetadata(self.type))

    def said(self) -> Twin | None:
        """As MQTT clients see it; None for a tombstone."""
        if self.deleted:
            return None
        return Twin(self.expected, self.actual, self.optional, TypeMetadata(self.type))

    def report(self, *, expected: bool = True, actual: bool = True) -> Twin:
        """As the cloud gets it: with versions, and only the parts that changed."""
        return Twin(
            self.expected if expected else None,
            self.actual if actual else None,
            self.optional,
            TypeMetadata(self.type),
            self.expected_version if expected and self.expected_version != Version() else None,
            self.actual_version if actual and self.actual_version != Version() else None,
        )


class Merged(msgspec.Struct, frozen=True):
    """What a message did."""

    twins: dict[str, Stored] = {}
    """What is to be stored, of those that changed."""
    result: dict[str, Twin | None] = {}
    """What changed, as the sender is told."""
    document: dict[str, dict[str, Twin | None]] = {}
    """Before (`last`) and after (`current`)."""
    report: dict[str, Twin] = {}
    """What the cloud is told."""


def merge_local(before: Twins, message: Mapping[str, Twin | None], now: int) -> Merged:
    """What MQTT clients and mappers say; `now` in ms. `MessageError`: nothing of the message counts."""
    merged = Merged()
    for key, said in message.items():
        old = before.get(key)
        if said is None:
            _delete_local(merged, key, old)
            continue
        new = _revived(old, said.type or "string")
        new = msgspec.structs.replace(new, optional=new.optional and said.optional is not False)
        new = _with_part(key, "expected", new, said.expected, now)
        new = _with_part(key, "actual", new, said.actual, now)
        _note(merged, key, old, new)
        merged.result[key] = Twin(
            new.expected if said.expected else None,
            new.actual if said.actual else None,
            new.optional,
            TypeMetadata(new.type),
        )
        merged.report[key] = new.report(expected=said.expected is not None, actual=said.actual is not None)
    return merged


def merge_cloud(before: Twins, message: Mapping[str, Twin | None], now: int) -> Merged:
    """What a cloud before 1.15 says (`cloud_updated`, or twins in a membership).

    A twin that cannot be taken is left out; where the cloud is behind, the edge's form goes up again.
    """
    merged = Merged()
    for key, said in message.items():
        if said is None:
            continue
        old = before.get(key)
        if said.type == DELETED:
            if old is not None and not old.deleted:
                new = _tombstone(old, _ahead(old.expected_version, said.expected_version))
                _note(merged, key, old, new)
            continue
        if said.expected is None or said.expected_version is None:
            continue
        base = _revived(old, said.type or "string")
        versions = base.expected_version
        if said.expected_version.cloud < versions.cloud or said.expected_version.edge < versions.edge:
            merged.report[key] = base.report(actual=False)
            continue
        try:
            value = _checked(key, "expected", base.type, said.expected, now)
        except MessageError:
            continue
        new = msgspec.structs.replace(base, expected=value, expected_version=said.expected_version)
        _note(merged, key, old, new)
    return merged


def merge_desired(
    before: Twins, desired: Mapping[str, tuple[str, str]], generation: int, now: int, unfit: Mapping[str, str] = {}
) -> Merged:
    """What a Device object wants: property → (value, type); a property that wants nothing has the value "".

    Twins of properties that the Device no longer has become tombstones. A value that its type does not take, or of
    which `unfit` says why its model does not, is kept out, and the cloud is told why; the Device's mapper gets it all
    the same.
    """
    merged = Merged()
    for key, (value, kind) in desired.items():
        old = before.get(key)
        base = msgspec.structs.replace(_revived(old, kind or "string"), declared=True)
        if kind and base.type == "string":
            # The model may come after its devices and their first values.
            base = msgspec.structs.replace(base, type=kind)
        wanted, why = _wanted(key, base.type, value, unfit.get(key, ""), now)
        if base.desired == value and base.unfit == why:
            if base != old:
                merged.twins[key] = base
            continue
        version = Version(max(generation, base.expected_version.cloud), base.expected_version.edge)
        expected = base.expected if why else wanted
        new = msgspec.structs.replace(
            base, expected=expected, expected_version=version, desired=value, unfit=why, unheard=""
        )
        _note(merged, key, old, new)
        if new.unfit or base.unfit or base.unheard:
            merged.report[key] = new.wish(now)
    for key, old in before.items():
        if key not in desired and old.declared and not old.deleted:
            _note(merged, key, old, _tombstone(old, old.expected_version))
    return merged


def explain(before: Twins, why: str, now: int) -> Merged:
    """The device's mapper is away, or refuses it, says `why`; empty: it has taken what the Device wants."""
    merged = Merged()
    for key, old in before.items():
        unmet = old.actual is None or old.actual.value != old.desired
        new = msgspec.structs.replace(old, unheard=why if old.declared and old.desired and unmet else "")
        if new != old:
            merged.twins[key] = new
            if not new.unfit:
                merged.report[key] = new.wish(now)
    return merged


def with_observed(merged: Merged, observed: Mapping[str, str], now: int) -> Merged:
    """The same, and the cloud is told which desired values the mapper worked with.

    They are not taken for wishes: a mapper that has not heard of the newest one would take it back.
    """
    report = dict(merged.report)
    for key, value in observed.items():
        if value and key in report:
            stored = merged.twins[key]
            why = stored.unfit if stored.desired == value else ""
            notes: dict[str, Any] = {"timestamp": now, **({"reason": why[:MAX_NOTE]} if why else {})}
            report[key] = msgspec.structs.replace(report[key], expected=Value(value, notes))
    return msgspec.structs.replace(merged, report=report)


def after(before: Twins, merged: Merged) -> dict[str, Stored]:
    """All twins once the change is stored."""
    return {**before, **merged.twins}


def delta(twins: Twins) -> tuple[dict[str, Twin], dict[str, str]] | None:
    """(all twins that should be something, what differs: property → expected value); None when nothing differs."""
    wanted = {key: twin for key, twin in twins.items() if not twin.deleted and twin.expected is not None}
    differs = {key: twin.expected.value or "" for key, twin in wanted.items() if twin.pending and twin.expected}
    if not differs:
        return None
    return {key: said for key, twin in wanted.items() if (said := twin.said()) is not None}, differs


def combine(unsent: Mapping[str, Twin], newer: Mapping[str, Twin]) -> dict[str, Twin]:
    """One report instead of two: the newer part of each twin counts, parts that only the older has stay."""
    combined = dict(unsent)
    for key, twin in newer.items():
        old = combined.get(key)
        if old is not None and twin.type != DELETED:
            twin = msgspec.structs.replace(
                twin,
                expected=twin.expected or old.expected,
                expected_version=twin.expected_version or old.expected_version,
                actual=twin.actual or old.actual,
                actual_version=twin.actual_version or old.actual_version,
            )
        combined[key] = twin
    return combined


def _wanted(key: str, kind: str, value: str, unfit: str, now: int) -> tuple[Value | None, str]:
    """(the value as it is kept, why it cannot be one)."""
    try:
        return _checked(key, "expected", kind, Value(value), now), unfit
    except MessageError as error:
        return None, str(error)


def _note(merged: Merged, key: str, old: Stored | None, new: Stored) -> None:
    merged.twins[key] = new
    merged.document[key] = {"last": old.said() if old else None, "current": new.said()}


def _delete_local(merged: Merged, key: str, old: Stored | None) -> None:
    if old is None:
        raise MessageError(f"there is no twin {key!r} to delete")
    if old.deleted or not old.optional:
        return
    version = Version(old.expected_version.cloud, old.expected_version.edge + 1)
    new = _tombstone(old, version)
    _note(merged, key, old, new)
    merged.result[key] = None
    merged.report[key] = new.report()


def _revived(old: Stored | None, kind: str) -> Stored:
    """The twin as it is; one that is new or a tombstone begins with this type, and with the versions it had."""
    if old is None:
        return Stored(type=kind)
    if not old.deleted:
        return old
    return Stored(type=kind, expected_version=old.expected_version, actual_version=old.actual_version)


def _tombstone(old: Stored, expected_version: Version) -> Stored:
    return msgspec.structs.replace(
        old,
        type=DELETED,
        expected=None,
        actual=None,
        expected_version=expected_version,
        desired="",
        declared=False,
        unfit="",
        unheard="",
    )


def _ahead(old: Version, said: Version | None) -> Version:
    if said is None:
        return old
    return Version(max(old.cloud, said.cloud), max(old.edge, said.edge))


def _with_part(key: str, part: str, stored: Stored, said: Value | None, now: int) -> Stored:
    if said is None:
        return stored
    value = _checked(key, part, stored.type, said, now)
    version: Version = getattr(stored, f"{part}_version")
    grown = Version(version.cloud, version.edge + 1)
    changes: dict[str, Any] = {part: value, f"{part}_version": grown}
    return msgspec.structs.replace(stored, **changes)


def _checked(key: str, part: str, kind: str, said: Value, now: int) -> Value | None:
    """The value as it is kept: with the time at which it came here; None for no value."""
    text = said.value or ""
    check = _CHECKS.get(kind.lower())
    if check is None:
        raise MessageError(f"twin {key!r}: the type {kind[:40]!r} is not one of {', '.join(sorted(_CHECKS))}")
    if not text:
        return None
    if not check(text):
        raise MessageError(f"twin {key!r}: the {part} value {text[:60]!r} is no {kind}")
    notes = dict(said.metadata or {})
    source = notes.pop("timestamp", 0)
    if source and "sourceTime" not in notes:
        notes["sourceTime"] = str(source)
    return Value(text, {"timestamp": now, **notes})


def _is_int(text: str) -> bool:
    return _INTEGER.fullmatch(text) is not None and -(1 << 63) <= int(text) < 1 << 63


def _is_float(text: str) -> bool:
    return _FLOAT.fullmatch(text) is not None


_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?|[+-]?(inf|infinity|nan)", re.IGNORECASE)
_CHECKS: dict[str, Callable[[str], bool]] = {
    "string": lambda _: True,
    "bytes": lambda _: True,
    "stream": lambda _: True,
    "int": _is_int,
    "integer": _is_int,
    "float": _is_float,
    "double": _is_float,
    "boolean": lambda text: text.lower() in ("true", "false"),
}
