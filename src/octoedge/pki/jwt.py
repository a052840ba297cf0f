"""Signatures of service account tokens (JWT: RS256, RS384, RS512, ES256), checked without the cryptography package.

`public_keys` reads the key files once, in the short-lived child of `enrol`; checking is arithmetic with public numbers,
which takes a third of a millisecond (RSA) or 30 ms (P-256), and nothing here is secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

MOST_TOKEN = 16 * 1024
_DIGEST_INFO = {
    "256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
"""What stands before a digest in a PKCS #1 v1.5 signature (RFC 8017, section 9.2)."""

# P-256 (FIPS 186-4, D.1.2.3).
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_BASE = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
Point = tuple[int, int] | None


class PublicKey(msgspec.Struct, frozen=True, tag_field="type"):
    """A key that checks signatures."""


class Rsa(PublicKey, frozen=True, tag="rsa"):
    """Modulus and exponent, hexadecimal."""

    modulus: str
    exponent: str


class P256(PublicKey, frozen=True, tag="p256"):
    """A point, hexadecimal."""

    x: str
    y: str


Key = Rsa | P256


class _Head(msgspec.Struct, frozen=True):
    alg: str = ""


def verified(token: str, keys: Iterable[Key]) -> dict[str, Any] | None:
    """What a token says, when one of the keys has signed it; times and audiences are not looked at."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > MOST_TOKEN:
        return None
    try:
        head = msgspec.json.decode(_bytes(parts[0]), type=_Head)
        claims = msgspec.json.decode(_bytes(parts[1]), type=dict[str, Any])
        signature = _bytes(parts[2])
        signed = f"{parts[0]}.{parts[1]}".encode("ascii")
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        return None
    for key in keys:
        if _CHECKS[type(key)](key, head.alg, signed, signature):
            return claims
    return None


def _rsa(key: Rsa, algorithm: str, signed: bytes, signature: bytes) -> bool:
    prefix = _DIGEST_INFO.get(algorithm.removeprefix("RS")) if algorithm.startswith("RS") else None
    modulus = int(key.modulus, 16)
    size = (modulus.bit_length() + 7) // 8
    number = int.from_bytes(signature, "big")
    if prefix is None or len(signature) != size or number >= modulus:
        return False
    ending = prefix + hashlib.new(f"sha{algorithm[2:]}", signed).digest()
    wanted = b"\x00\x01" + b"\xff" * (size - len(ending) - 3) + b"\x00" + ending
    return hmac.compare_digest(pow(number, int(key.exponent, 16), modulus).to_bytes(size, "big"), wanted)


def _p256(key: P256, algorithm: str, signed: bytes, signature: bytes) -> bool:
    if algorithm != "ES256" or len(signature) != 64:
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not (0 < r < _ORDER and 0 < s < _ORDER):
        return False
    digest = int.from_bytes(hashlib.sha256(signed).digest(), "big")
    inverse = pow(s, -1, _ORDER)
    own = (int(key.x, 16), int(key.y, 16))
    found = _add(_times(digest * inverse % _ORDER, _BASE), _times(r * inverse % _ORDER, own))
    return found is not None and found[0] % _ORDER == r


def _add(one: Point, other: Point) -> Point:
    if one is None or other is None:
        return one or other
    if one[0] == other[0]:
        if (one[1] + other[1]) % _P == 0:
            return None
        slope = (3 * one[0] * one[0] - 3) * pow(2 * one[1], -1, _P) % _P
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, _P) % _P
    x = (slope * slope - one[0] - other[0]) % _P
    return x, (slope * (one[0] - x) - one[1]) % _P


def _times(factor: int, point: Point) -> Point:
    found: Point = None
    for bit in bin(factor)[2:]:
        found = _add(found, found)
        if bit == "1":
            found = _add(found, point)
    return found


def _bytes(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


_CHECKS: dict[type[PublicKey], Callable[[Any, str, bytes, bytes], bool]] = {Rsa: _rsa, P256: _p256}
