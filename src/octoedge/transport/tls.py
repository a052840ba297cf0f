"""TLS as the cloud's listeners speak it (spec: channel, section 1.2): at least 1.2, certificates of one CA only."""

from __future__ import annotations

import enum
import ssl
import tempfile
from pathlib import Path
from typing import Any

from octoedge.errors import CertificateError

_CIPHERS = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-SHA256"
"""For TLS 1.2: what KubeEdge offers, and the RSA suite with GCM. TLS 1.3 has its own."""


class ClientCertificate(enum.Enum):
    """Whether a client must show a certificate of the CA."""

    REQUIRED = ssl.CERT_REQUIRED
    OPTIONAL = ssl.CERT_OPTIONAL


def server_context(certificate_pem: bytes, key_pem: bytes, ca_pem: bytes, client: ClientCertificate) -> ssl.SSLContext:
    """A listener's context: serves this certificate, trusts clients of this CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = client.value
    try:
        context.set_ciphers(_CIPHERS)
        context.load_verify_locations(cadata=ca_pem.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise CertificateError(f"the serving certificate cannot be used: {error}") from error
    show(context, certificate_pem, key_pem)
    return context


def show(context: ssl.SSLContext, certificate_pem: bytes, key_pem: bytes) -> None:
    """Serve this certificate from the next handshake on; connections that are open go on."""
    try:
        with tempfile.TemporaryDirectory(prefix="octoedge-") as folder:
            # The ssl module takes files only; the folder has mode 0700 and lives for a moment.
            chain, key = Path(folder, "crt"), Path(folder, "key")
            key.touch(mode=0o600)
            chain.write_bytes(certificate_pem)
            key.write_bytes(key_pem)
            context.load_cert_chain(chain, key)
    except (OSError, ValueError) as error:
        raise CertificateError(f"the serving certificate cannot be used: {error}") from error


def common_name(certificate: dict[str, Any] | None) -> str:
    """Common name in the form that `getpeercert()` gives; empty when there is none."""
    return _subject(certificate, "commonName")


def organization(certificate: dict[str, Any] | None) -> str:
    """Organization in the form that `getpeercert()` gives; empty when there is none."""
    return _subject(certificate, "organizationName")


def serial(certificate: dict[str, Any] | None) -> str:
    """Serial number, hexadecimal without leading zeros; empty when there is no certificate."""
    return str((certificate or {}).get("serialNumber", "")).lstrip("0")


def _subject(certificate: dict[str, Any] | None, wanted: str) -> str:
    for parts in (certificate or {}).get("subject", ()):
        for name, value in parts:
            if name == wanted:
                return str(value)
    return ""
