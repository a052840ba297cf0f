"""Tokens: good ones are good until their time is over or their subject is gone, and no others are."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from octoedge.apiserver.access.tokens import Subject, Tokens
from octoedge.errors import TokenError

SUBJECT = Subject("ns", "sa", "uid", "pod", "pod-uid", "node")


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


ELLIPTIC = Tokens(pem(ec.generate_private_key(ec.SECP256R1())))
TOKEN = ELLIPTIC.sign(SUBJECT, ["api"], 1000.0, 600)


@pytest.mark.parametrize(
    "tokens", [ELLIPTIC, Tokens(pem(rsa.generate_private_key(65537, 2048)))], ids=["ES256", "RS256"]
)
def test_a_token_says_whom_it_is_for(tokens: Tokens) -> None:
    claims = tokens.verify(tokens.sign(SUBJECT, ["api"], 1000.0, 600), 1500.0)
    assert (claims["sub"], claims["aud"], claims["exp"]) == ("system:serviceaccount:ns:sa", ["api"], 1600)
    assert claims["kubernetes.io"] == {
        "namespace": "ns",
        "serviceaccount": {"name": "sa", "uid": "uid"},
        "pod": {"name": "pod", "uid": "pod-uid"},
        "node": {"name": "node"},
    }
    assert tokens.keys()["keys"][0]["alg"] == tokens.algorithm


def test_a_token_ends_at_its_time() -> None:
    ELLIPTIC.verify(TOKEN, 1599.0)
    for now in (1600.0, 1e12, 0.0):
        with pytest.raises(TokenError):
            ELLIPTIC.verify(TOKEN, now)


def part(obj: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(obj).encode()).decode().rstrip("=")


def test_a_token_of_somebody_else_is_refused() -> None:
    head, body, signature = TOKEN.split(".")
    other = Tokens(pem(ec.generate_private_key(ec.SECP256R1()))).sign(SUBJECT, ["api"], 1000.0, 600)
    for token in (
        other,
        f"{part({'alg': 'none'})}.{body}.",
        f"{part({'alg': 'HS256'})}.{body}.{signature}",
        f"{head}.{part({'sub': 'system:admin', 'exp': 9999, 'iss': ELLIPTIC.issuer})}.{signature}",
        f"{head}.{body}",
        "",
        "a.b.c",
        "x" * 100_000,
    ):
        with pytest.raises(TokenError):
            ELLIPTIC.verify(token, 1500.0)


@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="ascii"))
def test_one_changed_character_makes_it_bad(place: int, character: str) -> None:
    changed = TOKEN[:place] + character + TOKEN[place + 1 :]
    # The last character of a part carries bits that mean nothing.
    if changed == TOKEN or place + 1 == len(TOKEN) or TOKEN[place + 1] == ".":
        return
    with pytest.raises(TokenError):
        ELLIPTIC.verify(changed, 1500.0)
