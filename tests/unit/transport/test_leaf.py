"""A client shows its own certificate and none above it, by either version of TLS."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from octoedge.testing.tls import TlsWorld, make
from octoedge.transport.leaf import show_alone


def _shown(world: TlsWorld, version: ssl.TLSVersion, *, alone: bool) -> int:
    """How many certificates the server sees in a handshake through memory."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.maximum_version = version
    client.load_verify_locations(world.ca_file)
    client.load_cert_chain(world.certificate_file, world.key_file)
    if alone:
        assert show_alone(client)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_end: Any = world.server().wrap_bio(up, down, server_side=True)
    client_end = client.wrap_bio(down, up, server_hostname="127.0.0.1")
    for end in (client_end, server_end) * 4:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert server_end.version() == client_end.version() == version.name.replace("_", ".")
    assert server_end.getpeercert()["subject"]
    return len(server_end._sslobj.get_unverified_chain())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_own_certificate_is_shown_alone_and_still_verified(tmp_path: Path, version: ssl.TLSVersion) -> None:
    world = make(tmp_path)
    assert _shown(world, version, alone=False) == 2, "what OpenSSL does by itself"
    assert _shown(world, version, alone=True) == 1


def test_the_switch_is_one_of_this_context_only() -> None:
    first, second = (ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) for _ in range(2))
    assert show_alone(first)
    assert show_alone(first), "again is fine"
    assert show_alone(second)
