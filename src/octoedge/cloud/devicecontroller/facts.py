"""What decisions need to know of a Device, and which of its changes matter to its node. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from octoedge.api import devices as api
from octoedge.api.meta import fields


@dataclass(frozen=True, slots=True)
class Facts:
    """One Device."""

    namespace: str
    name: str
    uid: str
    node: str
    model: str
    """Name of the DeviceModel, in the same namespace."""
    description: str
    properties: frozenset[str]

    @property
    def id(self) -> str:
        """As edges call it."""
        return f"{self.namespace}/{self.name}"

    @property
    def key(self) -> tuple[str, str]:
        """As informers call it."""
        return self.namespace, self.name


def facts(obj: bytes) -> Facts:
    """The facts of a Device; `MessageError` that names the field when it is none."""
    device = api.read(obj, api.Device)
    meta, spec = device.metadata, device.spec
    return Facts(
        meta.namespace,
        meta.name,
        meta.uid,
        spec.node_name,
        device.model_name,
        (meta.labels or {}).get("description", ""),
        frozenset(prop.name for prop in spec.properties or ()),
    )


class _Status(msgspec.Struct, frozen=True):
    reportToCloud: bool = False  # noqa: N815
    reportCycle: int = 0  # noqa: N815


class _Annotations(msgspec.Struct, frozen=True):
    telemetry: str = msgspec.field(default="", name=api.TELEMETRY)


class _Meta(msgspec.Struct, frozen=True):
    labels: Mapping[str, str] | None = None
    annotations: _Annotations | None = None
    deletionTimestamp: str | None = None  # noqa: N815


def matters(old: bytes, new: bytes) -> bool:
    """Whether the node must hear of the change: reports, which end in the status, must not come back to it."""
    before, after = fields(old), fields(new)
    if bytes(before.get("spec", _NONE)) != bytes(after.get("spec", _NONE)):
        return True
    kinds: tuple[tuple[str, type[msgspec.Struct]], ...] = (("metadata", _Meta), ("status", _Status))
    return any(_read(before, part, kind) != _read(after, part, kind) for part, kind in kinds)


def _read(parts: Mapping[str, msgspec.Raw], name: str, kind: type[msgspec.Struct]) -> msgspec.Struct | None:
    try:
        return msgspec.json.decode(parts.get(name, _NONE), type=kind)
    except msgspec.DecodeError:
        return None


_NONE = msgspec.Raw(b"{}")
