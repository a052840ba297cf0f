"""The certificate that the stream server shows, replaced while it runs."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import msgspec
import pytest

from octoedge.cloud.cloudstream.trust import CONFIGMAP, KEY, NAMESPACE, ClientTrust
from octoedge.kube.kinds import CONFIGMAPS
from octoedge.pki import x509
from octoedge.testing.kube import MemoryApi
from octoedge.testing.tls import TlsWorld, make


def new_pair(world: TlsWorld) -> tuple[bytes, bytes]:
    made = x509.new_server(world.ca, ["127.0.0.1"], time.time())
    return x509.certificate_to_pem(made.certificate), x509.key_to_pem(made.key)


async def shown(port: int, world: TlsWorld) -> bytes:
    """The certificate of the server at this port."""
    tls = ssl.create_default_context(cafile=str(world.ca_file))
    tls.load_cert_chain(world.certificate_file, world.key_file)
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return ssl.DER_cert_to_PEM_cert(certificate).encode()


def test_a_new_certificate_is_shown_from_the_next_handshake_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        world, api = make(tmp_path), MemoryApi()
        first, second = new_pair(world), new_pair(world)
        metadata = {"name": CONFIGMAP, "namespace": NAMESPACE}
        ca = world.ca_file.read_text()
        config_map = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {KEY: ca}}
        await api.client().create(CONFIGMAPS, NAMESPACE, msgspec.json.encode(config_map))
        trust = ClientTrust(api.client(), *first)
        following = asyncio.create_task(trust.run())
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=await trust.context())
        port = server.sockets[0].getsockname()[1]
        async with server:
            assert await shown(port, world) == first[0]
            trust.serve_with(*second)
            assert await shown(port, world) == second[0]
            trust.serve_with(b"garbage", b"garbage")
            assert await shown(port, world) == second[0]
        following.cancel()
        await asyncio.wait([following])

    asyncio.run(main())
    assert "is of no use" in caplog.text
