"""Values out of what devices send as JSON. Pure."""

from __future__ import annotations

import binascii
from typing import Any

import msgspec

from octoedge.errors import DeviceError


def picked(answer: bytes, pointer: str, kind: str = "") -> Any:
    """The value that a JSON pointer (RFC 6901) names, the whole text without one; a `DeviceError` for none. BYTES are
    the whole answer as it is, or base64 at the pointer, as they are written."""
    if not pointer:
        return answer if kind == "BYTES" else answer.decode(errors="replace").strip()
    try:
        value = msgspec.json.decode(answer)
        for word in pointer.split("/")[1:]:
            key = word.replace("~1", "/").replace("~0", "~")
            value = value[int(key)] if isinstance(value, list) else value[key]
    except (msgspec.DecodeError, RecursionError, KeyError, IndexError, ValueError, TypeError):
        return DeviceError(f"the answer has nothing at {pointer[:100]!r}: {answer[:60].decode(errors='replace')!r}")
    if kind == "BYTES":
        return _unpacked(value, pointer)
    return value if isinstance(value, str | int | float | bool) else msgspec.json.encode(value).decode()


def _unpacked(value: Any, pointer: str) -> Any:
    try:
        return binascii.a2b_base64(value, strict_mode=True)
    except (binascii.Error, TypeError, ValueError):
        return DeviceError(f"what is at {pointer[:100]!r} is no base64, which BYTES are in JSON: {str(value)[:60]!r}")
