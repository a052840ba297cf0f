"""A certificate that an administrator gives is the one that MetaServer shows, and what clients are told to trust."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from octoedge.edge.metamanager.metaserver import certificate
from octoedge.errors import ConfigError
from octoedge.pki import enrol
from octoedge.testing import tls


def test_it_is_shown_and_what_vouches_for_it_is_trusted(tmp_path: Path) -> None:
    files = certificate.Files(tmp_path / "metaserver")
    made = enrol.serving_certificate(["192.0.2.7", "localhost"])
    crt, key, ca = tmp_path / "m.crt", tmp_path / "m.key", tmp_path / "m.ca"
    crt.write_bytes(made.certificate)
    key.write_bytes(made.key)
    ca.write_bytes(made.ca)
    given = certificate.Given(crt, key, ca)
    given.trust(files)
    assert files.ca.read_bytes() == made.ca
    crt.write_bytes(made.certificate + made.ca)
    given.trust(files)
    assert files.ca.read_text().strip() == made.ca.decode().strip()
    world = tls.make(tmp_path / "node")
    clients = certificate.Clients(world.ca_file, world.certificate_file, world.key_file)
    server = certificate.context(files, clients, ("127.0.0.1", 10550), given)
    client = ssl.create_default_context(cafile=str(files.ca))
    assert _met(server, client, "192.0.2.7")
    certificate.ensure(files, [("127.0.0.1", 10550)])
    assert files.ca.read_bytes() != made.ca, "taken back: MetaServer has its own again"


def test_one_that_cannot_be_used_is_said_at_start(tmp_path: Path) -> None:
    made = enrol.serving_certificate(["localhost"])
    other = enrol.serving_certificate(["localhost"])
    crt, key, ca = tmp_path / "m.crt", tmp_path / "m.key", tmp_path / "m.ca"
    given = certificate.Given(crt, key, ca)
    files = certificate.Files(tmp_path / "metaserver")
    with pytest.raises(ConfigError, match="tlsCertFile, tlsPrivateKeyFile and tlsCaFile belong together"):
        given.trust(files)
    crt.write_bytes(made.certificate)
    ca.write_bytes(made.ca)
    key.write_bytes(other.key)
    with pytest.raises(ConfigError, match="cannot be used"):
        given.trust(files)
    assert not files.ca.exists()


def _met(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bool:
    """A handshake in memory."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                continue
    return not ends
