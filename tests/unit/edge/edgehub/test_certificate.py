"""Reading a certificate by hand gives what the cryptography package reads; damage is a sentence, never a crash."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.edge.edgehub import certificate
from octoedge.errors import CertificateError
from octoedge.pki import x509

NOW = 1_790_000_000.0
CA = x509.new_authority(NOW)


def issued(node: str, *, days: int = 365, now: float = NOW) -> bytes:
    return x509.sign_node(CA, x509.new_node_request(node)[1], node, days=days, now=now)


@pytest.mark.parametrize("days", [1, 365, 100 * 364])  # the last one ends after 2050, where DER writes times otherwise
def test_reads_what_the_reference_reads(tmp_path: Path, days: int) -> None:
    der = issued("edge-1", days=days)
    (tmp_path / "c.crt").write_text("# a comment before\n" + ssl.DER_cert_to_PEM_cert(der))
    seen, expected = certificate.load(tmp_path / "c.crt"), x509.read_der(der, "test")
    assert seen.common_name == "system:node:edge-1"
    assert (seen.not_before, seen.not_after) == (expected.not_before, expected.not_after)


def test_reads_a_ca_and_a_server_certificate() -> None:
    assert certificate.parse(CA.certificate).common_name == "KubeEdge"
    assert certificate.parse(x509.new_server(CA, ["10.0.0.1"], NOW).certificate).common_name == "KubeEdge"


@given(st.binary(max_size=300))
def test_garbage_is_told_so(data: bytes) -> None:
    with pytest.raises(CertificateError):
        certificate.parse(data)


DER = issued("edge-1")


@given(st.integers(0, len(DER) - 1), st.integers(0, 255))
def test_a_damaged_byte_is_read_or_told_of_and_never_crashes(position: int, value: int) -> None:
    damaged = DER[:position] + bytes((value,)) + DER[position + 1 :]
    try:
        certificate.parse(damaged)
    except CertificateError:
        return


@given(st.integers(0, 300))
def test_a_cut_certificate_is_told_of(length: int) -> None:
    with pytest.raises(CertificateError):
        certificate.parse(DER[:length])


@pytest.mark.parametrize("text", ["", "no pem", "-----BEGIN CERTIFICATE-----\n!!!\n", "-----END CERTIFICATE-----"])
def test_files_without_a_certificate_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "server.crt"
    path.write_text(text)
    with pytest.raises(CertificateError, match=r"server\.crt"):
        certificate.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="cannot read the certificate"):
        certificate.load(tmp_path / "server.crt")
