"""Whose certificate a PEM file holds, and for how long: read from the DER by hand.

Only the three fields that decide whether a node must enrol are looked at, at every start, within a millisecond; the
cryptography package would need a process of its own and 150 ms for the same. Signatures are checked by TLS, not here.
"""

from __future__ import annotations

import binascii
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from octoedge.errors import CertificateError

_SEQUENCE = 0x30
_SET = 0x31
_EXPLICIT_VERSION = 0xA0
_COMMON_NAME = bytes((0x55, 0x04, 0x03))
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_MAX_FILE = 1024 * 1024
_BEGIN = "-----BEGIN CERTIFICATE-----"
_END = "-----END CERTIFICATE-----"


class Certificate(msgspec.Struct, frozen=True):
    """What a node certificate says."""

    common_name: str
    not_before: float
    """Seconds since the epoch."""
    not_after: float


def load(path: Path) -> Certificate:
    """The first certificate in the PEM file `path`; `CertificateError` when there is none that can be read."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE).decode("ascii", errors="replace")
    except OSError as error:
        raise CertificateError(f"cannot read the certificate {path}: {error.strerror}") from error
    try:
        return parse(der_of(text))
    except CertificateError as error:
        raise CertificateError(f"{path}: {error}") from error


def der_of(pem: str) -> bytes:
    """The bytes of the first certificate in `pem`."""
    begin = pem.find(_BEGIN)
    end = pem.find(_END, begin)
    if begin < 0 or end < 0:
        raise CertificateError("holds no PEM certificate")
    try:
        return binascii.a2b_base64(pem[begin + len(_BEGIN) : end])
    except binascii.Error as error:
        raise CertificateError(f"holds a damaged PEM certificate: {error}") from error


def parse(der: bytes) -> Certificate:
    """The fields of a DER certificate."""
    try:
        outer = _Reader(der).enter(_SEQUENCE)
        signed = outer.enter(_SEQUENCE)
        if signed.peek() == _EXPLICIT_VERSION:
            signed.skip()
        for _ in ("serial number", "signature algorithm", "issuer"):
            signed.skip()
        validity = signed.enter(_SEQUENCE)
        not_before, not_after = (_time(*validity.take()) for _ in range(2))
        return Certificate(_common_name(signed.enter(_SEQUENCE)), not_before, not_after)
    except (IndexError, ValueError) as error:
        raise CertificateError(f"is not a certificate: {error}") from error


class _Reader:
    """Reads DER elements one after another."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def peek(self) -> int:
        return self._data[self._at]

    def take(self) -> tuple[int, bytes]:
        """(tag, contents) of the next element."""
        tag, length = self._data[self._at], self._data[self._at + 1]
        start = self._at + 2
        if length >= 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4:
                raise ValueError("an element has a length that DER does not allow")
            length = int.from_bytes(self._data[start : start + count], "big")
            start += count
        end = start + length
        if end > len(self._data):
            raise ValueError("an element is longer than the data")
        self._at = end
        return tag, self._data[start:end]

    def skip(self) -> None:
        self.take()

    def enter(self, expected: int) -> _Reader:
        tag, contents = self.take()
        if tag != expected:
            raise ValueError(f"element {tag:#x} stands where {expected:#x} belongs")
        return _Reader(contents)


def _time(tag: int, contents: bytes) -> float:
    text = contents.decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year: from 1950 to 2049
        text = ("19" if text >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError(f"element {tag:#x} is no time")
    if len(text) != 15 or text[14] != "Z" or not text[:14].isdigit():
        raise ValueError(f"{text[:20]!r} is no time")
    year, *rest = (int(text[start:end]) for start, end in ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14)))
    month, day, hour, minute, second = rest
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()


def _common_name(subject: _Reader) -> str:
    while subject:
        group = subject.enter(_SET)
        while group:
            attribute = group.enter(_SEQUENCE)
            _, kind = attribute.take()
            _, value = attribute.take()
            if kind == _COMMON_NAME:
                return value.decode()
    return ""
