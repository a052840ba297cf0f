"""Which changes of an object matter to the edge. Pure.

The status of a pod or node comes from the edge itself; sending each back would double the traffic of an idle node.
"""

from __future__ import annotations

from typing import Any

import msgspec

from octoedge.api.meta import fields

_BOOKKEEPING = ("resourceVersion", "generation", "managedFields")


def matters(old: bytes, new: bytes) -> bool:
    """Whether more than the status and the bookkeeping in metadata changed."""
    before, after = dict(fields(old)), dict(fields(new))
    before.pop("status", None)
    after.pop("status", None)
    was, now = before.pop("metadata", msgspec.Raw(b"{}")), after.pop("metadata", msgspec.Raw(b"{}"))
    return _bytes(before) != _bytes(after) or _metadata(bytes(was)) != _metadata(bytes(now))


def _bytes(parts: dict[str, msgspec.Raw]) -> dict[str, bytes]:
    return {key: bytes(value) for key, value in parts.items()}


def _metadata(raw: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(raw)
    for key in _BOOKKEEPING:
        decoded.pop(key, None)
    return decoded
