"""Join tokens: the golden vector of the Go verifier, and every way to be wrong."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import TokenError
from octoedge.pki import token

CA = b"example-ca-der"
KEY = b"example-ca-key-der"
GOLDEN = (
    "5d8d73ccf9e0dad38e3ef59fa768494a0247c762aaf3e23583b2c4ef9cddd0a5."
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjQxMDI0NDQ4MDB9.2zjOWxvCNiz55XtejylqZNoS8iCPIbEGAwfo3IVNZAM"
)
EXPIRED = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3MDAwMDAwMDB9.0Efpkt47wA2NtrB3jO0fd0r6miBJhwhT0iHumcapCOA"
NOW = 1_790_000_000.0


def test_a_token_is_what_the_go_verifier_accepts() -> None:
    assert token.mint(CA, KEY, expires=4_102_444_800) == GOLDEN


def test_the_golden_token_is_good() -> None:
    hash_, bearer = token.split(GOLDEN + "\n")
    assert hash_ == hashlib.sha256(CA).hexdigest()
    token.check_ca(GOLDEN, CA)
    token.verify(bearer, KEY, now=NOW)


def test_an_expired_token_is_refused() -> None:
    with pytest.raises(TokenError, match="token is expired"):
        token.verify(EXPIRED, KEY, now=NOW)
    token.verify(EXPIRED, KEY, now=1_699_999_999)


def test_a_token_of_another_cloud_is_refused() -> None:
    with pytest.raises(TokenError, match="signature is invalid"):
        token.verify(token.split(GOLDEN)[1], b"another key", now=NOW)
    with pytest.raises(TokenError, match="another cloud"):
        token.check_ca(GOLDEN, b"another CA")


def test_the_whole_token_is_no_bearer() -> None:
    with pytest.raises(TokenError, match="invalid number of segments"):
        token.verify(GOLDEN, KEY, now=NOW)


@pytest.mark.parametrize("text", ["", "a.b.c", "." * 3, "a.b.c.d", GOLDEN + ".x", "x" * 64 + "..."])
def test_what_is_no_token_cannot_be_split(text: str) -> None:
    with pytest.raises(TokenError):
        token.split(text)


def test_an_unsigned_token_is_refused() -> None:
    unsigned = "eyJhbGciOiJub25lIn0.eyJleHAiOjQxMDI0NDQ4MDB9."
    with pytest.raises(TokenError, match="HMAC"):
        token.verify(unsigned, KEY, now=NOW)


@given(st.text(max_size=200))
def test_arbitrary_text_is_refused_and_never_crashes(text: str) -> None:
    with pytest.raises(TokenError):
        token.verify(text, KEY, now=NOW)


@given(st.integers(0, len(GOLDEN) - 66 - 44), st.characters(codec="ascii"))
def test_no_changed_character_of_what_is_signed_passes(position: int, character: str) -> None:
    bearer = token.split(GOLDEN)[1]
    changed = bearer[:position] + character + bearer[position + 1 :]
    if changed != bearer:
        with pytest.raises(TokenError):
            token.verify(changed, KEY, now=NOW)


@given(st.binary(min_size=1), st.binary(min_size=1), st.integers(1_800_000_000, 4_000_000_000))
def test_what_is_minted_is_verified(ca: bytes, key: bytes, expires: int) -> None:
    minted = token.mint(ca, key, expires=expires)
    token.check_ca(minted, ca)
    token.verify(token.split(minted)[1], key, now=expires - 1)
