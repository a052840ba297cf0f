"""Tokens are checked as the cryptography package checks them, and nothing that is sent breaks it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509 as lib
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from hypothesis import given, settings
from hypothesis import strategies as st

from octoedge.edge.metamanager.metaserver.signatures import KeyFiles
from octoedge.errors import CertificateError, ConfigError
from octoedge.pki import enrol, jwt, x509

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
PUBLIC = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
KEYS = x509.public_keys(RSA.public_key().public_bytes(*PUBLIC) + EC.public_key().public_bytes(*PUBLIC))
BROKEN = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
CLAIMS = {"iss": "me", "sub": "system:serviceaccount:default:reader"}


def coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(algorithm: str, claims: Any = CLAIMS, key: rsa.RSAPrivateKey = RSA, said: str = "") -> str:
    start = f"{coded(msgspec.json.encode({'alg': said or algorithm}))}.{coded(msgspec.json.encode(claims))}"
    digest: Any = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[algorithm[2:]]
    if algorithm.startswith("RS"):
        return f"{start}.{coded(key.sign(start.encode(), padding.PKCS1v15(), digest))}"
    r, s = utils.decode_dss_signature(EC.sign(start.encode(), ec.ECDSA(digest)))
    return f"{start}.{coded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "ES256"])
def test_what_a_key_has_signed_is_known(algorithm: str) -> None:
    for _ in range(3):
        assert jwt.verified(signed(algorithm), KEYS) == CLAIMS
    assert jwt.verified(signed(algorithm), KEYS[::-1]) == CLAIMS
    assert jwt.verified(signed(algorithm), []) is None


def test_what_another_signed_or_somebody_changed_is_not() -> None:
    other = rsa.generate_private_key(65537, 2048)
    assert jwt.verified(signed("RS256", key=other), KEYS) is None
    for algorithm in ("RS256", "ES256"):
        head, _, signature = signed(algorithm).split(".")
        assert jwt.verified(f"{head}.{coded(msgspec.json.encode({'sub': 'admin'}))}.{signature}", KEYS) is None
        for said in ("none", "HS256", "RS384", "RS1", "PS256", "ES384", "RS", ""):
            assert jwt.verified(signed(algorithm, said=said or "x"), KEYS) is None
        for worse in ("", "AA", coded(b"\0" * 64), coded(b"\xff" * 64), coded(b"\xff" * 256), coded(b"\0" * 256)):
            assert jwt.verified(f"{head}.{coded(msgspec.json.encode(CLAIMS))}.{worse}", KEYS) is None


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.text(max_size=80),
        st.lists(st.binary(max_size=60).map(coded), min_size=3, max_size=3).map(".".join),
        st.tuples(st.sampled_from(["RS256", "ES256", "RS512"]), st.binary(max_size=300)).map(
            lambda made: f"{coded(msgspec.json.encode({'alg': made[0]}))}.{coded(b'{}')}.{coded(made[1])}"
        ),
    )
)
def test_no_token_breaks_it(token: str) -> None:
    assert jwt.verified(token, KEYS) is None


@given(st.integers(0, 2**63), st.binary(min_size=1, max_size=8))
def test_a_signature_with_any_byte_changed_is_none(at: int, other: bytes) -> None:
    token = signed("RS256")
    head, claims, signature = token.split(".")
    data = bytearray(base64.urlsafe_b64decode(signature + "=="))
    at %= len(data) - len(other)
    if data[at : at + len(other)] != other:
        data[at : at + len(other)] = other
        assert jwt.verified(f"{head}.{claims}.{coded(bytes(data))}", KEYS) is None


def test_keys_are_read_from_what_kubernetes_takes(tmp_path: Path) -> None:
    pem = serialization.Encoding.PEM
    private = RSA.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    name = lib.Name([lib.NameAttribute(lib.NameOID.COMMON_NAME, "signer")])
    since = datetime.now(UTC)
    certificate = (
        lib.CertificateBuilder().subject_name(name).issuer_name(name).public_key(EC.public_key()).serial_number(1)
        .not_valid_before(since).not_valid_after(since + timedelta(days=1)).sign(EC, hashes.SHA256())
    )  # fmt: skip
    text = (private + certificate.public_bytes(pem)).decode()
    assert enrol.public_keys(text) == KEYS
    (tmp_path / "sa.pub").write_text(text)
    assert KeyFiles([str(tmp_path / "sa.pub")], ["me"]).verified(signed("ES256")) == CLAIMS
    other = ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(*PUBLIC).decode()
    for wrong in ("", "nothing", BROKEN, other):
        with pytest.raises(CertificateError):
            enrol.public_keys(wrong)
        (tmp_path / "sa.pub").write_text(wrong)
        with pytest.raises(ConfigError, match="serviceAccountKeyFiles"):
            KeyFiles([str(tmp_path / "sa.pub")], ["me"])
    with pytest.raises(ConfigError, match="No such file"):
        KeyFiles([str(tmp_path / "sa.none")], ["me"])
