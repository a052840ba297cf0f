"""The certificate of the cloud's listeners while CloudCore runs for years: made anew, or an administrator's."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from octoedge.cloud.cloudcore import AuthorityModule
from octoedge.pki import x509
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.doors import listening_config
from octoedge.testing.kube import MemoryApi
from octoedge.transport.tls import ClientCertificate

DAY = 86400.0


def shown(listening: ssl.SSLContext) -> bytes:
    """The certificate (DER) that a handshake with this context shows, without a network."""
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = asking.wrap_bio(back, there), listening.wrap_bio(there, back, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    found = client.getpeercert(binary_form=True)
    assert found is not None
    return found


async def wait(seconds: float) -> None:
    """A little longer, so that what was due has happened."""
    await asyncio.sleep(seconds + 60)


def test_the_own_certificate_is_made_anew_before_its_end_and_shown_by_listeners_that_run(tmp_path: Path) -> None:
    async def main() -> None:
        api, clock = MemoryApi(), VirtualClock()
        module, ready = AuthorityModule(api.client(), listening_config(tmp_path), clock), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(module.run(ready.set), name="authority")
            await ready.wait()
            context, first = module.context(ClientCertificate.OPTIONAL), module.get()
            assert shown(context) == first.server.certificate
            await wait(3 * 3600)
            assert module.get() == first
            ends = x509.read_der(first.server.certificate, "it").not_after
            clock.shift(ends - clock.now() - 20 * DAY)
            api.away = True
            await wait(3600)
            assert shown(context) == first.server.certificate
            api.away = False
            await wait(3600)
            assert module.get().ca == first.ca
            assert shown(context) == module.get().server.certificate != first.server.certificate
            assert x509.read_der(shown(context), "it").not_after > ends
            task.cancel()

    run(main())


def test_files_that_an_administrator_replaces_are_taken_up_and_bad_ones_are_not(tmp_path: Path) -> None:
    async def main() -> None:
        api, clock, config = MemoryApi(), VirtualClock(), listening_config(tmp_path)
        hub = config.modules.cloud_hub
        ca = x509.new_authority(clock.now())

        def put(certificate: str, key: str, pair: x509.Pair) -> None:
            Path(certificate).write_bytes(x509.certificate_to_pem(pair.certificate))
            if key:
                Path(key).write_bytes(x509.key_to_pem(pair.key))

        given = [x509.new_server(ca, ["192.0.2.1"], clock.now()) for _ in range(2)]
        put(hub.tls_ca_file, hub.tls_ca_key_file, ca)
        put(hub.tls_cert_file, hub.tls_private_key_file, given[0])
        module, ready = AuthorityModule(api.client(), config, clock), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(module.run(ready.set), name="authority")
            await ready.wait()
            context = module.context(ClientCertificate.OPTIONAL)
            put(hub.tls_cert_file, "", given[1])  # its key is to follow
            await wait(3600)
            assert shown(context) == given[0].certificate
            put(hub.tls_cert_file, hub.tls_private_key_file, given[1])
            await wait(3600)
            assert shown(context) == given[1].certificate
            task.cancel()

    run(main())
