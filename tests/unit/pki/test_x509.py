"""Certificates: what is issued, and what is refused."""

from __future__ import annotations

import pytest
from cryptography import x509 as lib
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import CertificateError
from octoedge.pki import x509

NOW = 1_790_000_000.0
CA = x509.new_authority(NOW)
YEAR = 365 * 86400


def _request(common_name: str, organization: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    subject = lib.Name(
        [
            lib.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            lib.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    request = lib.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def test_the_authority_is_as_kubeedge_makes_it() -> None:
    certificate = lib.load_der_x509_certificate(CA.certificate)
    assert certificate.serial_number == 1024
    assert certificate.subject.rfc4514_string() == "CN=KubeEdge"
    assert certificate.extensions.get_extension_for_class(lib.BasicConstraints).value.ca
    assert x509.key_to_pem(CA.key).startswith(b"-----BEGIN EC PRIVATE KEY-----")


def test_a_node_certificate_is_as_kubeedge_makes_it() -> None:
    _, csr = x509.new_node_request("edge-1")
    der = x509.sign_node(CA, csr, "edge-1", days=365, now=NOW)
    seen = x509.read_der(der, "the answer")
    assert (seen.common_name, seen.organizations) == ("system:node:edge-1", ("system:nodes",))
    assert seen.issuer == "CN=KubeEdge"
    assert seen.not_after == NOW + YEAR
    certificate = lib.load_der_x509_certificate(der)
    usage = certificate.extensions.get_extension_for_class(lib.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    x509.check_issued_by(CA, der, "the answer")


def test_a_request_for_another_node_is_refused() -> None:
    _, csr = x509.new_node_request("edge-2")
    with pytest.raises(CertificateError, match="node edge-1 must ask for CN=system:node:edge-1"):
        x509.sign_node(CA, csr, "edge-1", days=365, now=NOW)


def test_a_request_for_another_group_is_refused() -> None:
    csr = _request("system:node:edge-1", "system:masters", ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(CertificateError, match="O=system:masters"):
        x509.sign_node(CA, csr, "edge-1", days=365, now=NOW)


def test_a_request_signed_by_another_key_is_refused() -> None:
    _, csr = x509.new_node_request("edge-1")
    damaged = csr[:-1] + bytes([csr[-1] ^ 1])
    with pytest.raises(CertificateError, match="signature is wrong"):
        x509.sign_node(CA, damaged, "edge-1", days=365, now=NOW)


def test_a_weak_key_is_refused() -> None:
    csr = _request("system:node:edge-1", "system:nodes", rsa.generate_private_key(65537, 1024))
    with pytest.raises(CertificateError, match="1024 bits"):
        x509.sign_node(CA, csr, "edge-1", days=365, now=NOW)


@given(st.binary(max_size=300))
def test_garbage_is_no_request(garbage: bytes) -> None:
    with pytest.raises(CertificateError, match="failed to parse csr"):
        x509.sign_node(CA, garbage, "edge-1", days=365, now=NOW)


def test_a_server_certificate_names_its_addresses() -> None:
    server = x509.new_server(CA, ["192.0.2.1", "::1", "cloud.example", "192.0.2.1", ""], NOW)
    assert x509.read_der(server.certificate, "x").addresses == {"192.0.2.1", "::1", "cloud.example"}
    x509.check_pair(server, "the server certificate")
    x509.check_issued_by(CA, server.certificate, "the server certificate")


def test_a_foreign_key_or_authority_is_noticed() -> None:
    other = x509.new_authority(NOW)
    with pytest.raises(CertificateError, match="does not belong"):
        x509.check_pair(x509.Pair(CA.certificate, other.key), "the pair")
    with pytest.raises(CertificateError, match="not signed by this cloud's CA"):
        x509.check_issued_by(CA, x509.new_server(other, ["::1"], NOW).certificate, "the server certificate")


def test_a_pair_survives_pem() -> None:
    again = x509.from_pem(x509.certificate_to_pem(CA.certificate), x509.key_to_pem(CA.key), "the files")
    assert again == CA


def test_a_pair_never_shows_its_key() -> None:
    assert CA.key.hex() not in repr(CA)
    assert "hidden" in repr(CA)
