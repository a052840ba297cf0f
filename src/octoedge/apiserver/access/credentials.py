"""The server's own CA, certificates, token key and kubeconfigs, kept in the data directory.

pki/ca.{crt,key}              the CA of clients and of this server, for ten years; its key stays
pki/apiserver.{crt,key}       what the server shows; made anew when its addresses change
pki/kubelet-client.{crt,key}  what it shows to CloudCore's kubelet-like API
pki/sa.key                    signs service account tokens
admin.kubeconfig, cloudcore.kubeconfig

What ends soon is made anew at the start and while the server runs (`renewal`). A new certificate of the CA has the key
and the name of the old one, so that whoever trusts either trusts all that was ever signed, as long as his own lasts.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from octoedge.apiserver.serving.requests import CLOUDCORE, KUBELET_CLIENT, MASTERS
from octoedge.errors import CertificateError
from octoedge.pki.x509 import general_name
from octoedge.store import durable

NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
_CA_DAYS = 3650
_CA_RENEW_DAYS = 730
"""Two years before its end: time for the new certificate to reach everybody who keeps a copy."""
_LEAF_DAYS = 365
_RENEW_DAYS = 30


@dataclass(frozen=True, slots=True)
class Pair:
    """The files of a certificate and its key."""

    certificate: Path
    key: Path


class Credentials:
    """The files below one data directory."""

    def __init__(self, folder: Path, addresses: Iterable[str], port: int, now: float) -> None:
        self._folder = folder
        self._pki = folder / "pki"
        self._pki.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self._addresses = list(dict.fromkeys(addresses))
        host = next((address for address in self._addresses if address not in NAMES), "127.0.0.1")
        self.server_url = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        self.ca, self.server, self.kubelet_client = map(self._pair, ("ca", "apiserver", "kubelet-client"))
        self.token_key = self._pki / "sa.key"
        self.admin_kubeconfig = folder / "admin.kubeconfig"
        self.cloudcore_kubeconfig = folder / "cloudcore.kubeconfig"
        if not self.token_key.exists():
            durable.write(self.token_key, _pem(ec.generate_private_key(ec.SECP256R1())))
        self.ca_pem = ""
        """The CA's certificate."""
        self.renew(now)

    def renew(self, now: float) -> list[str]:
        """Make what is missing, ends soon or no longer fits; the names of the certificates that were made.

        Raises `OSError` when something cannot be written; then the files are as good as they were.
        """
        self._now = datetime.fromtimestamp(now, UTC)
        made = ["ca"] if self._authority() else []
        made += ["apiserver"] if self._leaf(self.server, "kube-apiserver", (), self._addresses) else []
        made += ["kubelet-client"] if self._leaf(self.kubelet_client, KUBELET_CLIENT, ()) else []
        made += ["admin"] if self._kubeconfig(self.admin_kubeconfig, "kubernetes-admin", (MASTERS,)) else []
        made += ["cloudcore"] if self._kubeconfig(self.cloudcore_kubeconfig, CLOUDCORE, ()) else []
        return made

    def _authority(self) -> bool:
        made = not (self.ca.certificate.exists() and self.ca.key.exists())
        if made:
            key = ec.generate_private_key(ec.SECP256R1())
            self._store(self.ca, self._root(_name("octoedge-ca", ()), key), key)
        else:
            now = x509.load_pem_x509_certificate(self.ca.certificate.read_bytes())
            made = now.not_valid_after_utc - self._now < timedelta(days=_CA_RENEW_DAYS)
            if made:
                durable.write(self.ca.certificate, _shown(self._root(now.subject, self._ca_key())), 0o644)
        self.ca_pem = self.ca.certificate.read_text()
        return made

    def _root(self, name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        return (
            self._builder(name, name, key.public_key(), _CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )

    def _ca_key(self) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_pem_private_key(self.ca.key.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CertificateError(f"{self.ca.key} is not an ECDSA key; the embedded API server makes only those")
        return key

    def _leaf(self, pair: Pair, common_name: str, groups: tuple[str, ...], addresses: Iterable[str] = ()) -> bool:
        names = [general_name(address) for address in (*addresses, *(NAMES if addresses else ()))]
        subject = _name(common_name, groups)
        if self._still_good(pair, subject, names):
            return False
        ca_key = self._ca_key()
        ca = x509.load_pem_x509_certificate(self.ca.certificate.read_bytes())
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if addresses else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            self._builder(subject, ca.subject, key.public_key(), _LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        self._store(pair, builder.sign(ca_key, hashes.SHA256()), key)
        return True

    def _still_good(self, pair: Pair, subject: x509.Name, names: list[x509.GeneralName]) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
            ca = x509.load_pem_x509_certificate(self.ca.certificate.read_bytes())
            certificate.verify_directly_issued_by(ca)
            key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
        except (OSError, ValueError, TypeError, InvalidSignature):
            return False
        if certificate.public_key() != key.public_key():
            return False  # only one of the two was written
        if certificate.not_valid_after_utc - self._now < timedelta(days=_RENEW_DAYS):
            return False
        if certificate.subject != subject:
            return False  # of an older version, with other groups
        if not names:
            return True
        try:
            shown = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return False
        return set(names) <= set(shown)

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, days: int
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - timedelta(minutes=5))
            .not_valid_after(self._now + timedelta(days=days))
        )

    def _pair(self, name: str) -> Pair:
        return Pair(self._pki / f"{name}.crt", self._pki / f"{name}.key")

    def _store(self, pair: Pair, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        durable.write(pair.key, _pem(key))
        durable.write(pair.certificate, _shown(certificate), 0o644)

    def _kubeconfig(self, path: Path, user: str, groups: tuple[str, ...]) -> bool:
        """A kubeconfig that holds everything itself, so that it can be copied elsewhere; whether it has a new key."""
        pair = self._pair(path.stem)
        made = self._leaf(pair, user, groups)

        def data(path: Path) -> str:
            return base64.b64encode(path.read_bytes()).decode()

        text = _KUBECONFIG.format(
            server=self.server_url,
            user=user,
            ca=data(self.ca.certificate),
            certificate=data(pair.certificate),
            key=data(pair.key),
        )
        if not path.exists() or path.read_text() != text:
            durable.write(path, text.encode())
        return made


def _name(common_name: str, groups: Iterable[str]) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _shown(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


_KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: octoedge
clusters:
- name: octoedge
  cluster:
    server: {server}
    certificate-authority-data: {ca}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: octoedge
  context:
    cluster: octoedge
    user: {user}
"""
