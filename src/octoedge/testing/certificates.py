"""A cloud that only issues certificates (`/ca.crt`, `/edge.crt`), for tests of enrolment.

Answers as a Go CloudCore was seen to (spec: golden-vectors, section 8): texts, codes, DER bodies.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from octoedge.errors import CertificateError, TokenError
from octoedge.pki import token as tokens
from octoedge.pki import x509
from octoedge.testing.tls import TlsWorld


@dataclass
class CertificateCloud:
    """Serves one authority; `now` is the time that tokens are judged by."""

    world: TlsWorld
    now: float
    shown_ca: bytes = b""
    """What `/ca.crt` shows instead of the real CA."""
    fail_with: int = 0
    """Answer every request for a certificate with this status."""
    issue_for: str = ""
    """Issue certificates for this node, whoever asks."""
    days: int = 365
    requests: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def token(self, *, expires_in: float = 3600.0) -> str:
        """A join token of this cloud."""
        return tokens.mint(self.world.ca.certificate, self.world.ca.key, expires=int(self.now + expires_in))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[CertificateCloud]:
        """Listen on a free port."""
        tls = self.world.server(want_client=False)
        tls.load_verify_locations(self.world.ca_file)
        tls.verify_mode = ssl.CERT_OPTIONAL
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length") or 0))
            self.requests.append(first)
            status, answer = self._answer(first.split()[1], headers, body, writer.get_extra_info("peercert"))
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(answer)}\r\n\r\n".encode() + answer)
            await writer.drain()
        writer.close()

    def _answer(
        self, path: str, headers: dict[str, str], body: bytes, certificate: dict[str, object] | None
    ) -> tuple[int, bytes]:
        if path == "/ca.crt":
            return 200, self.shown_ca or self.world.ca.certificate
        if self.fail_with:
            return self.fail_with, b"out of order"
        node = headers["nodename"]
        try:
            if not certificate:
                tokens.verify(headers.get("authorization", "").removeprefix("Bearer "), self.world.ca.key, now=self.now)
            if self.issue_for:
                node, body = self.issue_for, x509.new_node_request(self.issue_for)[1]
            return 200, x509.sign_node(self.world.ca, body, node, days=self.days, now=self.now)
        except TokenError as error:
            return 401, f"token validation failure, err: {error}".encode()
        except CertificateError as error:
            return 500, str(error).encode()
