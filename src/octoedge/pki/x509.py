"""Certificates as values: make, sign and read them. Needs the cryptography package; does no I/O.

The forms are KubeEdge's (spec: channel, sections 9.1 and 10), so that a Go CloudCore can take over our Secrets and we
can take over its: ECDSA P-256, certificates as DER, keys as SEC1 DER.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from octoedge.errors import CertificateError
from octoedge.pki import jwt
from octoedge.protocol.handshake import NODES_GROUP, certificate_name

_CA_SERIAL = 1024
_LONG = timedelta(days=100 * 364)
_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----\n?", re.DOTALL)
_SKEW = timedelta(minutes=5)
"""Certificates begin a little in the past: edge clocks are often behind."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says."""

    common_name: str
    organizations: tuple[str, ...]
    issuer: str
    not_before: float
    not_after: float
    addresses: frozenset[str] = frozenset()
    """Subject alternative names: IP addresses and DNS names."""
    serial: str = ""
    """Hexadecimal, upper case, without leading zeros."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both DER; the key is SEC1 (`EC PRIVATE KEY`) when we made it."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"Pair(certificate={len(self.certificate)} bytes, key=hidden)"


def new_authority(now: float) -> Pair:
    """A new self-signed CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "KubeEdge")])
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _builder(name, name, key.public_key(), now, _LONG, serial=_CA_SERIAL)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Pair(_der(builder.sign(key, hashes.SHA256())), _sec1(key))


def new_server(ca: Pair, addresses: Sequence[str], now: float) -> Pair:
    """A server certificate of `ca` for these IP addresses and DNS names."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "KubeEdge"), x509.NameAttribute(NameOID.COMMON_NAME, "KubeEdge")]
    )
    builder = _leaf(ca, subject, key.public_key(), now, _LONG, ExtendedKeyUsageOID.SERVER_AUTH)
    names = [general_name(address) for address in dict.fromkeys(addresses) if address]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Pair(_der(builder.sign(_signing_key(ca), hashes.SHA256())), _sec1(key))


def sign_node(ca: Pair, csr_der: bytes, node: str, *, days: int, now: float) -> bytes:
    """The client certificate (DER) that `node` asks for; `CertificateError` when the request is not for that node.

    Stricter than KubeEdge, which neither compares the subject with the node nor checks the request's signature.
    """
    public_key = _requested_key(csr_der, node)
    if not isinstance(public_key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise CertificateError("the signing request has a key of an unsupported type; use ECDSA or RSA")
    if isinstance(public_key, rsa.RSAPublicKey) and public_key.key_size < 2048:
        raise CertificateError(f"the signing request has an RSA key of {public_key.key_size} bits; 2048 are the least")
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, NODES_GROUP),
            x509.NameAttribute(NameOID.COMMON_NAME, certificate_name(node)),
        ]
    )
    builder = _leaf(ca, name, public_key, now, timedelta(days=days), ExtendedKeyUsageOID.CLIENT_AUTH)
    return _der(builder.sign(_signing_key(ca), hashes.SHA256()))


def key_of_request(csr_der: bytes, node: str) -> str:
    """SHA-256 (hexadecimal) of the public key that a signing request of `node` is for.

    `CertificateError` when the request is not for that node, or was not signed by whoever has that key.
    """
    spki = _requested_key(csr_der, node).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).hexdigest()


def request_from_pem(pem: bytes) -> bytes:
    """A signing request (DER) from PEM."""
    try:
        return x509.load_pem_x509_csr(pem).public_bytes(serialization.Encoding.DER)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"failed to parse csr: {error}") from error


def public_keys(pem: bytes) -> list[jwt.Key]:
    """The keys in a PEM file: public or private keys, or certificates. `CertificateError` when there is none."""
    found = [_public_key(block.group()) for block in _BLOCK.finditer(pem) if block[1] != b"EC PARAMETERS"]
    if not found:
        raise CertificateError("there is no key and no certificate in it (PEM)")
    return found


def _public_key(block: bytes) -> jwt.Key:
    try:
        if b"CERTIFICATE" in block:
            key: Any = x509.load_pem_x509_certificate(block).public_key()
        elif b"PRIVATE KEY" in block:
            key = serialization.load_pem_private_key(block, None).public_key()
        else:
            key = serialization.load_pem_public_key(block)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"a key in it cannot be read: {error}") from error
    numbers = key.public_numbers() if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) else None
    if isinstance(numbers, rsa.RSAPublicNumbers):
        return jwt.Rsa(f"{numbers.n:x}", f"{numbers.e:x}")
    if isinstance(numbers, ec.EllipticCurvePublicNumbers) and isinstance(numbers.curve, ec.SECP256R1):
        return jwt.P256(f"{numbers.x:x}", f"{numbers.y:x}")
    raise CertificateError("keys of service account tokens are RSA or P-256; another is not supported")


def new_node_request(node: str, key_pem: bytes = b"") -> tuple[bytes, bytes]:
    """(private key PEM, signing request DER) for `node`, as the Go edge makes them.

    `key_pem`: the key to sign with; a new one is made when it is empty.
    """
    try:
        key = serialization.load_pem_private_key(key_pem, None) if key_pem else ec.generate_private_key(ec.SECP256R1())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"the node's key cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise CertificateError("the node's key is neither ECDSA nor RSA")
    try:
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
                x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "Zhejiang"),
                x509.NameAttribute(NameOID.LOCALITY_NAME, "Hangzhou"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, NODES_GROUP),
                x509.NameAttribute(NameOID.COMMON_NAME, certificate_name(node)),
            ]
        )
    except ValueError as error:
        raise CertificateError(f"the node name {node!r} does not fit into a certificate: {error}") from error
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return pem, request.public_bytes(serialization.Encoding.DER)


def read_der(data: bytes, where: str) -> Certificate:
    """What DER certificate `data` says."""
    try:
        return _read(x509.load_der_x509_certificate(data))
    except (ValueError, TypeError) as error:
        raise CertificateError(f"{where} is no certificate: {error}") from error


def check_pair(pair: Pair, where: str) -> None:
    """`CertificateError` unless certificate and key can be read and belong together."""
    try:
        public = x509.load_der_x509_certificate(pair.certificate).public_key()
        own = _load_key(pair.key).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{where} cannot be read: {error}") from error
    if public != own:
        raise CertificateError(f"{where}: the private key does not belong to the certificate")


def check_issued_by(ca: Pair, certificate_der: bytes, where: str) -> None:
    """`CertificateError` unless `ca` signed the certificate."""
    try:
        leaf = x509.load_der_x509_certificate(certificate_der)
        leaf.verify_directly_issued_by(x509.load_der_x509_certificate(ca.certificate))
    except (ValueError, TypeError, InvalidSignature) as error:
        raise CertificateError(f"{where} was not signed by this cloud's CA") from error


def from_pem(certificate: bytes, key: bytes, where: str) -> Pair:
    """The pair in two PEM files (their first blocks)."""
    try:
        loaded = x509.load_pem_x509_certificate(certificate)
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{where} cannot be read: {error}") from error
    if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise CertificateError(f"{where}: the private key is neither ECDSA nor RSA")
    pair = Pair(_der(loaded), _sec1(private))
    check_pair(pair, where)
    return pair


def key_to_pem(key_der: bytes) -> bytes:
    """A private key as the PEM that TLS libraries load."""
    return _load_key(key_der).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def certificate_to_pem(der: bytes) -> bytes:
    """A certificate as PEM."""
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


def _requested_key(csr_der: bytes, node: str) -> CertificatePublicKeyTypes:
    try:
        request = x509.load_der_x509_csr(csr_der)
        public_key = request.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"failed to parse csr: {error}") from error
    _check_request(request, node)
    return public_key


def _check_request(request: x509.CertificateSigningRequest, node: str) -> None:
    if not request.is_signature_valid:
        raise CertificateError("the signing request's own signature is wrong: it was damaged on the way")
    names = [str(part.value) for part in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    organizations = [str(part.value) for part in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if names != [certificate_name(node)] or organizations != [NODES_GROUP]:
        raise CertificateError(
            f"the signing request is for CN={','.join(names)} O={','.join(organizations)}, "
            f"but node {node} must ask for CN={certificate_name(node)} O={NODES_GROUP}"
        )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    now: float,
    lifetime: timedelta,
    serial: int | None = None,
) -> x509.CertificateBuilder:
    begins = datetime.fromtimestamp(int(now), UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial or secrets.randbits(63) | 1)
        .not_valid_before(begins - _SKEW)
        .not_valid_after(begins + lifetime)
    )


def _leaf(
    ca: Pair,
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    now: float,
    lifetime: timedelta,
    usage: x509.ObjectIdentifier,
) -> x509.CertificateBuilder:
    issuer = x509.load_der_x509_certificate(ca.certificate)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(_signing_key(ca).public_key())
    return (
        _builder(subject, issuer.subject, public_key, now, lifetime)
        .add_extension(_key_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(identifier, critical=False)
    )


def _key_usage(*, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def general_name(address: str) -> x509.GeneralName:
    """An IP address or a DNS name as certificates have it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _signing_key(ca: Pair) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    return _load_key(ca.key)


def _load_key(der: bytes) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    key = serialization.load_der_private_key(der, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise CertificateError("the private key is neither ECDSA nor RSA")
    return key


def _sec1(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _read(certificate: x509.Certificate) -> Certificate:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Certificate(
        common_name=str(names[0].value) if names else "",
        organizations=tuple(
            str(part.value) for part in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        ),
        issuer=certificate.issuer.rfc4514_string(),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        addresses=_addresses(certificate),
        serial=f"{certificate.serial_number:X}",
    )


def _addresses(certificate: x509.Certificate) -> frozenset[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return frozenset(addresses + names.get_values_for_type(x509.DNSName))
