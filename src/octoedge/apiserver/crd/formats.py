"""The formats of strings and numbers that a schema may ask for; one that is not listed here is not looked at."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

MAX_LENGTH = 1_000_000
"""Longer texts have no format but `byte`."""

_UUID = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}")
_MAC = re.compile(r"([0-9a-fA-F]{2}[:-]){5}([0-9a-fA-F]{2})|([0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:?\d\d)")
_DURATION = re.compile(r"-?(\d+(\.\d*)?(ns|us|µs|μs|ms|s|m|h))+|0|\d+ *(ns|us|ms|s|m|h|d|w)")
_HEX_COLOR = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})")


def fits(name: str, value: Any) -> bool:
    """Whether a string or number has the format."""
    if isinstance(value, str):
        check = _TEXTS.get(name)
        return check is None or ((len(value) <= MAX_LENGTH or name == "byte") and check(value))
    limit = _NUMBERS.get(name)
    return limit is None or -limit <= value < limit


def _made(make: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            make(text)
        except (ValueError, binascii.Error):
            return False
        return True

    return check


def _date_time(text: str) -> None:
    if not _DATE_TIME.fullmatch(text):
        raise ValueError
    datetime.fromisoformat(re.sub(r"\.\d+", "", text.upper()).replace("Z", "+00:00"))


def _hostname(text: str) -> bool:
    return len(text) <= 255 and all(_LABEL.fullmatch(part) for part in text.rstrip(".").split("."))


def _email(text: str) -> bool:
    name, at, domain = text.rpartition("@")
    return bool(name and at and not re.search(r"[\s<>]", name)) and _hostname(domain)


def _uri(text: str) -> bool:
    try:
        return bool(urlsplit(text).scheme or text.startswith("/")) and not re.search(r"\s", text)
    except ValueError:
        return False


_TEXTS: dict[str, Callable[[str], bool]] = {
    "byte": _made(lambda text: base64.b64decode(text, validate=True)),
    "cidr": _made(lambda text: ipaddress.ip_network(text if "/" in text else "none", strict=False)),
    "date": _made(date.fromisoformat),
    "date-time": _made(_date_time),
    "datetime": _made(_date_time),
    "duration": lambda text: _DURATION.fullmatch(text) is not None,
    "email": _email,
    "hexcolor": lambda text: _HEX_COLOR.fullmatch(text) is not None,
    "hostname": _hostname,
    "ipv4": _made(ipaddress.IPv4Address),
    "ipv6": _made(ipaddress.IPv6Address),
    "mac": lambda text: _MAC.fullmatch(text) is not None,
    "uri": _uri,
    "uuid": lambda text: _UUID.fullmatch(text) is not None,
}
_NUMBERS = {"int32": 1 << 31, "int64": 1 << 63}
