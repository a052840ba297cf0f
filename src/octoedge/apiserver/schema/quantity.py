"""Resource quantities (`500m`, `1Gi`, `2e3`) as exact numbers and in their usual form.

The agent, which only asks what an amount comes to in whole units, has `api.quantity` and is spared fractions.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_FORM = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d{1,3})?")
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
MAX_LENGTH = 64


@lru_cache(maxsize=2048)
def parse(text: str) -> Fraction:
    """The exact value; `ValueError` when it is no quantity. Remembered: thousands of pods ask for the same few."""
    number, suffix = _parts(text)
    if suffix in _BINARY:
        return number * (1 << _BINARY[suffix])
    if suffix and suffix[0] in "eE" and len(suffix) > 1:
        return number * Fraction(10) ** int(suffix[1:])
    return number * Fraction(10) ** _DECIMAL.get(suffix, 0)


@lru_cache(maxsize=2048)
def canonical(text: str) -> str:
    """The usual form: `0.5` is `500m`, `1000m` is `1`, `1024Mi` is `1Gi`; the family of the suffix stays."""
    _, suffix = _parts(text)
    value = parse(text)
    if not value:
        return "0"
    if suffix in _BINARY:
        return _binary(value) or decimal(value)
    if suffix and suffix[0] in "eE" and len(suffix) > 1:
        return _exponent(value)
    return decimal(value)


def decimal(value: Fraction) -> str:
    """An exact value in its usual decimal form."""
    if not value:
        return "0"
    for suffix, power in sorted([*_DECIMAL.items(), ("", 0)], key=lambda pair: -pair[1]):
        scaled = value / Fraction(10) ** power
        if scaled.denominator == 1:
            return f"{scaled}{suffix}"
    return decimal(Fraction(-(-value * 10**9 // 1), 10**9))  # rounded up, as nothing is smaller than a nano


def _parts(text: str) -> tuple[Fraction, str]:
    found = _FORM.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if not found:
        raise ValueError(f"{text!r} is not a quantity")
    return Fraction(found[1]), found[2] or ""


def _binary(value: Fraction) -> str:
    for suffix, power in reversed(_BINARY.items()):
        if value % (1 << power) == 0:
            return f"{value / (1 << power)}{suffix}"
    return ""


def _exponent(value: Fraction) -> str:
    for power in range(18, -12, -3):
        scaled = value / Fraction(10) ** power
        if scaled.denominator == 1:
            return f"{scaled}e{power}" if power else str(scaled)
    return decimal(value)
