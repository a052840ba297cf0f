"""The edge's way to keys and certificates: through a real child process."""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path

import pytest

from octoedge.errors import CertificateError
from octoedge.pki import enrol, x509

NOW = 1_790_000_000.0


def test_key_request_and_certificate_fit_together(tmp_path: Path) -> None:
    made = asyncio.run(enrol.request_key_and_csr("edge-1"))
    ca = x509.new_authority(NOW)
    certificate = x509.sign_node(ca, made.csr_der, "edge-1", days=30, now=NOW)
    (tmp_path / "server.crt").write_bytes(x509.certificate_to_pem(certificate))
    (tmp_path / "server.key").write_bytes(made.key_pem)
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    seen = x509.read_der(certificate, "the certificate")
    assert seen.common_name == "system:node:edge-1"
    assert seen.organizations == ("system:nodes",)
    assert seen.not_after == NOW + 30 * 86400


def test_an_impossible_name_is_said_clearly() -> None:
    with pytest.raises(CertificateError, match="does not fit"):
        asyncio.run(enrol.request_key_and_csr("x" * 300))


def test_the_agent_does_not_import_cryptography() -> None:
    code = "import sys, octoedge.pki.enrol, octoedge.pki.token; sys.exit('cryptography' in sys.modules)"

    async def main() -> int:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
        return await process.wait()

    assert asyncio.run(main()) == 0
