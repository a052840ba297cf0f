"""A throw-away CA with server and node certificates, for tests on real sockets."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from octoedge.pki import x509


@dataclass
class TlsWorld:
    """Files of one cloud and one node."""

    directory: Path
    ca: x509.Pair
    ca_file: Path
    certificate_file: Path
    key_file: Path

    def server(self, *, want_client: bool = True) -> ssl.SSLContext:
        pair = x509.new_server(self.ca, ["127.0.0.1", "::1", "localhost"], time.time())
        certificate, key = self.directory / "cloud.crt", self.directory / "cloud.key"
        certificate.write_text(ssl.DER_cert_to_PEM_cert(pair.certificate))
        key.write_bytes(_pem_key(pair.key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        if want_client:
            context.load_verify_locations(self.ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def make(directory: Path, node: str = "edge-1", ahead: float = 0.0) -> TlsWorld:
    """Its authority's clock is so many seconds ahead."""
    directory.mkdir(parents=True, exist_ok=True)
    now = time.time() + ahead
    ca = x509.new_authority(now)
    key, csr = x509.new_node_request(node)
    world = TlsWorld(directory, ca, directory / "ca.crt", directory / "node.crt", directory / "node.key")
    world.ca_file.write_text(ssl.DER_cert_to_PEM_cert(ca.certificate))
    issued = x509.sign_node(ca, csr, node, days=30, now=now)
    world.certificate_file.write_text(ssl.DER_cert_to_PEM_cert(issued))
    world.key_file.write_bytes(key)
    return world


def _pem_key(der: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE", "EC PRIVATE KEY").encode()
