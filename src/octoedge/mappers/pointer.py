"""Values out of what devices send as JSON. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from octoedge.errors import DeviceError


def picked(answer: bytes, pointer: str) -> Any:
    """The value that a JSON pointer (RFC 6901) names, the whole text without one; a `DeviceError` for none."""
    if not pointer:
        return answer.decode(errors="replace").strip()
    try:
        value = msgspec.json.decode(answer)
        for word in pointer.split("/")[1:]:
            key = word.replace("~1", "/").replace("~0", "~")
            value = value[int(key)] if isinstance(value, list) else value[key]
    except (msgspec.DecodeError, RecursionError, KeyError, IndexError, ValueError, TypeError):
        return DeviceError(f"the answer has nothing at {pointer[:100]!r}: {answer[:60].decode(errors='replace')!r}")
    return value if isinstance(value, str | int | float | bool) else msgspec.json.encode(value).decode()
