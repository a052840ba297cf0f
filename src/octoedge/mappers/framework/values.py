"""Values of devices as text, which is what travels, and as Python has them. Pure.

What type a property has says its DeviceModel: INT, FLOAT, DOUBLE, STRING, BOOLEAN, BYTES.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from octoedge.errors import ValueRefused

MAX_TEXT = 4096
"""Characters of a value; EdgeCore takes no more."""
_INT_END = 1 << 63
_FLOAT_DIGITS, _DOUBLE_DIGITS = 7, 15
_BOOLEANS = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}


def parse(text: str, kind: str) -> Any:
    """The value that a text says; `ValueRefused` when it says none of this type."""
    try:
        return _PARSERS.get(kind.upper(), str)(text.strip() if kind.upper() not in ("", "STRING") else text)
    except (ValueError, KeyError, OverflowError):
        raise ValueRefused(f"{text[:60]!r} is no value of type {kind.upper()}") from None


def check(value: Any, minimum: str, maximum: str) -> None:
    """`ValueRefused` when a number is out of range; bounds that are no numbers bound nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    low, high = _bound(minimum), _bound(maximum)
    if low is not None and value < low:
        raise ValueRefused(f"{_plain(value)} is under the minimum of {minimum}")
    if high is not None and value > high:
        raise ValueRefused(f"{_plain(value)} is over the maximum of {maximum}")


def text(value: Any, kind: str) -> str:
    """How a value travels: plain decimals without an exponent; `ValueRefused` for what is no value of the type."""
    try:
        said = _WRITERS.get(kind.upper(), _any)(value)
        said.encode()  # half a character (a lone surrogate) cannot travel
    except ValueRefused:
        raise
    except Exception:  # what an author's object does that is asked for its text is his
        raise ValueRefused(f"{_shown(value)} is no value of type {kind.upper()}") from None
    if len(said) > MAX_TEXT:
        raise ValueRefused(f"a value of {len(said)} characters is longer than {MAX_TEXT}")
    return said


def same(one: str, other: str, kind: str) -> bool:
    """Whether two texts say the same value, as far as the type is precise."""
    if one == other:
        return True
    try:
        return text(parse(one, kind), kind) == text(parse(other, kind), kind)
    except ValueRefused:
        return False


def _number(said: str) -> float:
    value = float(said)
    if not math.isfinite(value):
        raise ValueError(said)
    return value


def _integer(said: str) -> int:
    try:
        return int(said)
    except ValueError:
        value = _number(said)
        if value != int(value):
            raise
        return int(value)


def _bound(said: str) -> float | None:
    try:
        return _number(said)
    except ValueError:
        return None


def _plain(value: float, digits: int = _DOUBLE_DIGITS) -> str:
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        raise ValueError(value)
    shortest = Decimal(f"{value:.{digits}g}").normalize()
    return format(shortest, "f") if shortest else "0"


def _whole(value: Any) -> str:
    number = round(value) if isinstance(value, int | float) else _integer(str(value))
    if not -_INT_END <= number < _INT_END:
        raise ValueRefused(f"{_shown(number)} does not fit into the 64 bits of an INT; let the property be a DOUBLE")
    return str(number)


def _shown(value: Any) -> str:
    try:
        return repr(str(value)[:60])
    except ValueError:
        return "an integer of thousands of digits"
    except Exception:
        return f"a {type(value).__name__} without a text"


def _real(digits: int) -> Callable[[Any], str]:
    return lambda value: _plain(float(value), digits)


def _truth(value: Any) -> str:
    if isinstance(value, str):
        value = _BOOLEANS[value.strip().lower()]
    return "true" if value else "false"


def _any(value: Any) -> str:
    if isinstance(value, bool):
        return _truth(value)
    if isinstance(value, float):
        return _plain(value)
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


_PARSERS: dict[str, Callable[[str], Any]] = {
    "INT": _integer,
    "FLOAT": _number,
    "DOUBLE": _number,
    "BOOLEAN": lambda said: _BOOLEANS[said.lower()],
    "BYTES": bytes.fromhex,
}
_WRITERS: dict[str, Callable[[Any], str]] = {
    "INT": _whole,
    "FLOAT": _real(_FLOAT_DIGITS),
    "DOUBLE": _real(_DOUBLE_DIGITS),
    "BOOLEAN": _truth,
    "BYTES": lambda value: value.hex() if isinstance(value, bytes | bytearray) else bytes.fromhex(value).hex(),
}
