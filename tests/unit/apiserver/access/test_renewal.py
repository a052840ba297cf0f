"""A server that runs for years: what it shows is made anew in time, and no connection notices."""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from octoedge.apiserver.access.authentication import Authenticator
from octoedge.apiserver.access.authorization import Masters
from octoedge.apiserver.access.credentials import Credentials
from octoedge.apiserver.access.renewal import Renewal
from octoedge.apiserver.access.tokens import Tokens
from octoedge.apiserver.serving.requests import Answer, Request, Response
from octoedge.apiserver.serving.server import Server
from octoedge.runtime.clock import SystemClock
from octoedge.testing.apiserver import free_port
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.shelf import Shelf

DAY = 86400.0


class Taken:
    """Counts, and may refuse."""

    def __init__(self) -> None:
        self.times = 0
        self.refuse = False

    async def __call__(self) -> None:
        self.times += 1
        if self.refuse:
            raise OSError("no room")


def ends(file: Path) -> float:
    return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc.timestamp()


def test_three_years_without_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        clock, taken = VirtualClock(), Taken()
        credentials = Credentials(tmp_path, ("127.0.0.1",), 6443, clock.now())
        async with asyncio.TaskGroup() as group:
            # A look checks four signatures: one a day instead of one an hour, since only their number costs time here.
            renewal = Renewal(credentials, clock, taken, every=DAY)
            task = group.create_task(renewal.run(lambda: None), name="renewal")
            for _ in range(3 * 52):
                await asyncio.sleep(7 * DAY)
                files = [credentials.server.certificate, credentials.kubelet_client.certificate]
                files += [tmp_path / "pki/admin.crt", tmp_path / "pki/cloudcore.crt"]
                assert min(map(ends, files)) - clock.now() >= 29 * DAY
            taken.refuse = True
            await asyncio.sleep(3 * DAY)
            taken.refuse = False
            before = taken.times
            await asyncio.sleep(2 * DAY)
            assert taken.times > before, "one failure ends nothing"
            task.cancel()

    with caplog.at_level(logging.INFO):
        run(main())
    assert sum("made anew" in record.message for record in caplog.records) == 3
    assert sum("no room" in record.message for record in caplog.records) > 1


class Hello:
    """Says who asks."""

    async def handle(self, request: Request) -> Response:
        return Answer(request.user.name.encode())


def pair_of(kubeconfig: Path) -> Path:
    """A file with the certificate and the key of its user."""
    user = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]
    pair = kubeconfig.with_suffix(".pem")
    pair.write_bytes(b"".join(base64.b64decode(user[f"client-{what}-data"]) for what in ("certificate", "key")))
    return pair


@dataclass(frozen=True, slots=True)
class Visitor:
    """An open connection of the administrator, and which certificate he was shown."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def come(cls, port: int, ca: str, kubeconfig: Path) -> Visitor:
        """Connect, trusting `ca`, with the certificate of a kubeconfig."""
        tls = ssl.create_default_context(cadata=ca)
        tls.load_cert_chain(pair_of(kubeconfig))
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls))

    @property
    def shown(self) -> str:
        """The server's certificate."""
        return str(self.writer.get_extra_info("peercert")["serialNumber"])

    async def ask(self) -> str:
        """Who the server says he is."""
        self.writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.decode().splitlines() if line.startswith("Content-Length"))
        return (await self.reader.readexactly(int(length.split()[1]))).decode()


def test_everything_is_renewed_under_open_connections_and_old_copies_go_on_working(tmp_path: Path) -> None:
    async def main() -> None:
        now, port, clock = time.time(), free_port(), SystemClock()
        credentials = Credentials(tmp_path / "data", ("127.0.0.1",), port, now - 8 * 365 * DAY - DAY)
        assert "apiserver" in credentials.renew(now - 340 * DAY), "before the CA's turn"
        authenticator = Authenticator(Tokens(credentials.token_key.read_bytes()), Shelf(), clock, Masters())
        server = Server("127.0.0.1", port, credentials, authenticator, Hello())
        copy, old_ca = tmp_path / "copy.kubeconfig", credentials.ca_pem
        copy.write_text(credentials.admin_kubeconfig.read_text())
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(server.run(ready.set), name="server")
            await ready.wait()
            before = await Visitor.come(port, old_ca, copy)
            assert await before.ask() == "kubernetes-admin"
            assert credentials.renew(now) == ["ca", "apiserver", "kubelet-client", "admin", "cloudcore"]
            server.show()
            visitors = [before]
            for ca, kubeconfig in ((old_ca, copy), (credentials.ca_pem, credentials.admin_kubeconfig)):
                visitors.append(await Visitor.come(port, ca, kubeconfig))
                assert visitors[-1].shown != before.shown
            for visitor in visitors:
                assert await visitor.ask() == "kubernetes-admin"
                visitor.writer.transport.abort()
            task.cancel()

    asyncio.run(main())
