"""Credentials are made once, survive restarts, and follow the server's addresses."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.x509.oid import NameOID

from octoedge.apiserver.access.credentials import Credentials

NOW = 1_790_000_000.0
DAY = 86400


def test_they_stay_as_they_are(tmp_path: Path) -> None:
    Credentials(tmp_path, ("127.0.0.1",), 6443, NOW)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    Credentials(tmp_path, ("127.0.0.1",), 6443, NOW + DAY)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    assert all(path.stat().st_mode & 0o077 == 0 for path in before if path.suffix in (".key", ".kubeconfig"))


def test_a_new_address_or_an_old_certificate_makes_a_new_one_of_the_same_authority(tmp_path: Path) -> None:
    first = Credentials(tmp_path, ("127.0.0.1",), 6443, NOW)
    ca, key, shown = first.ca_pem, first.token_key.read_bytes(), first.server.certificate.read_bytes()
    second = Credentials(tmp_path, ("10.0.0.5", "edge.example"), 7443, NOW)
    assert (second.ca_pem, second.token_key.read_bytes()) == (ca, key)
    certificate = x509.load_pem_x509_certificate(second.server.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.5"]
    assert {"edge.example", "kubernetes.default.svc"} <= set(names.get_values_for_type(x509.DNSName))
    assert second.server.certificate.read_bytes() != shown
    config = yaml.safe_load(second.admin_kubeconfig.read_text())
    assert config["clusters"][0]["cluster"]["server"] == "https://10.0.0.5:7443"
    late = Credentials(tmp_path, ("10.0.0.5", "edge.example"), 7443, NOW + 340 * DAY)
    renewed = x509.load_pem_x509_certificate(late.server.certificate.read_bytes())
    assert renewed.not_valid_after_utc > certificate.not_valid_after_utc


def test_half_written_pairs_are_made_anew(tmp_path: Path) -> None:
    first = Credentials(tmp_path, ("127.0.0.1",), 6443, NOW)
    first.server.certificate.unlink()
    first.kubelet_client.key.write_bytes(b"broken")
    key = tmp_path / "pki/admin.key"
    key.write_bytes((tmp_path / "pki/cloudcore.key").read_bytes())  # another key, as after a crash between the two
    again = Credentials(tmp_path, ("127.0.0.1",), 6443, NOW)
    assert again.server.certificate.exists()
    assert b"PRIVATE KEY" in again.kubelet_client.key.read_bytes()
    assert key.read_bytes() != (tmp_path / "pki/cloudcore.key").read_bytes()


def test_they_are_made_anew_a_month_before_their_end(tmp_path: Path) -> None:
    credentials = Credentials(tmp_path, ("127.0.0.1",), 6443, NOW)
    assert credentials.renew(NOW + 330 * DAY) == []
    before = credentials.admin_kubeconfig.read_text()
    assert credentials.renew(NOW + 336 * DAY) == ["apiserver", "kubelet-client", "admin", "cloudcore"]
    assert credentials.admin_kubeconfig.read_text() != before
    assert credentials.renew(NOW + 336 * DAY) == []


def test_a_new_authority_certificate_vouches_for_what_the_old_one_signed_and_back(tmp_path: Path) -> None:
    credentials = Credentials(tmp_path, ("127.0.0.1",), 6443, NOW)
    old, leaf = _read(credentials.ca.certificate), _read(credentials.server.certificate)
    assert credentials.renew(NOW + 9 * 365 * DAY)[0] == "ca"
    new, later = _read(credentials.ca.certificate), _read(credentials.server.certificate)
    assert credentials.ca_pem == credentials.ca.certificate.read_text()
    assert new.not_valid_after_utc - old.not_valid_after_utc > timedelta(days=7 * 365)
    for authority in (old, new):
        leaf.verify_directly_issued_by(authority)
        later.verify_directly_issued_by(authority)


def test_only_administrators_are_masters_and_who_was_one_before_gets_a_new_certificate(tmp_path: Path) -> None:
    first = Credentials(tmp_path, ("127.0.0.1",), 6443, NOW)
    assert _organizations(tmp_path, "admin") == ["system:masters"]
    assert _organizations(tmp_path, "cloudcore") == _organizations(tmp_path, "kubelet-client") == []
    # As an older version had it.
    for file in ("crt", "key"):
        (tmp_path / f"pki/cloudcore.{file}").write_bytes((tmp_path / f"pki/admin.{file}").read_bytes())
    before = first.cloudcore_kubeconfig.read_text()
    Credentials(tmp_path, ("127.0.0.1",), 6443, NOW)
    assert _organizations(tmp_path, "cloudcore") == []
    assert first.cloudcore_kubeconfig.read_text() != before


def _read(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def _organizations(folder: Path, name: str) -> list[str | bytes]:
    certificate = x509.load_pem_x509_certificate((folder / f"pki/{name}.crt").read_bytes())
    return [one.value for one in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
