"""Kubernetes quantities (`100m`, `64Mi`, `1e3`) as whole numbers, rounded up as Kubernetes does.

`apiserver.quantity` keeps them exact and writes them; it is apart because the agent's memory is counted.
"""

from __future__ import annotations

import re

_PATTERN = re.compile(r"([+-]?)(\d{1,18})?(?:\.(\d{0,18}))?(?:([eE][+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i))?", re.ASCII)
_BINARY = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50, "Ei": 1 << 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def whole(quantity: str) -> int:
    """The quantity in its unit (bytes, cores, pods); `ValueError` when it is none."""
    return _scaled(quantity, 0)


def milli(quantity: str) -> int:
    """The quantity in thousandths of its unit (millicores)."""
    return _scaled(quantity, 3)


def _scaled(quantity: str, shift: int) -> int:
    match = _PATTERN.fullmatch(quantity)
    if match is None or not (match[2] or match[3]):
        raise ValueError(f"{quantity!r} is not a quantity such as 100m, 64Mi or 1.5")
    sign, integer, fraction, exponent, suffix = match.groups(default="")
    number = int((integer + fraction) or "0") * _BINARY.get(suffix, 1)
    power = shift - len(fraction) + (int(exponent[1:]) if exponent else _DECIMAL.get(suffix, 0))
    value: int = number * 10**power if power >= 0 else -(-number // 10**-power)
    return -value if sign == "-" else value
