"""metav1: the part of every object that decisions look at, and the one function that splices bytes.

Objects travel as bytes. `view` decodes kind, apiVersion and metadata; `splice` changes single top-level or metadata
fields without touching the rest, so that unknown fields survive the way there and back.
"""

from __future__ import annotations

from typing import Any

import msgspec

from octoedge.errors import MessageError


class OwnerReference(msgspec.Struct, frozen=True, rename="camel"):
    """Who an object belongs to."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    controller: bool = False


class ObjectMeta(msgspec.Struct, frozen=True, rename="camel"):
    """metadata of an object."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None
    owner_references: list[OwnerReference] | None = None

    @property
    def version(self) -> int:
        """resourceVersion as a number; 0 when the object has none."""
        return int(self.resource_version) if self.resource_version.isdigit() else 0


class ObjectView(msgspec.Struct, frozen=True, rename="camel"):
    """What is common to all objects."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()


_view_decoder = msgspec.json.Decoder(ObjectView)
_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def view(obj: bytes) -> ObjectView:
    """kind, apiVersion and metadata of `obj`; `MessageError` when it is no object."""
    try:
        return _view_decoder.decode(obj)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(f"not a Kubernetes object: {error}") from error


def fields(obj: bytes) -> dict[str, msgspec.Raw]:
    """The top-level fields of `obj`, each as the bytes it came in."""
    try:
        return _raw_fields.decode(obj)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(f"not a Kubernetes object: {error}") from error


def splice(obj: bytes, top: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None) -> bytes:
    """`obj` with some top-level and some metadata fields set; a value of None removes the field.

    kind and apiVersion come first, as Kubernetes writes them. Everything else keeps its bytes and its order.
    """
    parts: dict[str, Any] = dict(fields(obj))
    if metadata:
        inner: dict[str, Any] = dict(fields(bytes(parts["metadata"]))) if "metadata" in parts else {}
        parts["metadata"] = _merged(inner, metadata)
    parts = _merged(parts, top or {})
    first = {key: parts.pop(key) for key in ("kind", "apiVersion") if key in parts}
    return msgspec.json.encode({**first, **parts})


def typed(obj: bytes, api_version: str, kind: str) -> bytes:
    """`obj` with kind and apiVersion, which items of a list lack; unchanged when it already has both."""
    seen = view(obj)
    if seen.kind and seen.api_version:
        return obj
    return splice(obj, {"kind": kind, "apiVersion": api_version})


def _merged(parts: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = {**parts, **changes}
    return {key: value for key, value in merged.items() if value is not None}
