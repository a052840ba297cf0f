"""For tests of streams: an API server with pods, a CloudStream, an EdgeStream and TLS between them, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from octoedge.api.config import cloudcore as cloud_config
from octoedge.api.config import edgecore as edge_config
from octoedge.cloud.cloudstream.cloudstream import CloudStream
from octoedge.edge.edgestream.edgestream import EdgeStream, tunnel_dial
from octoedge.edge.ports import LogKey, LogMark, LogNews, LogRequest
from octoedge.errors import bad_request
from octoedge.kube.access import Access
from octoedge.kube.client import Client
from octoedge.pki.authority import Authority
from octoedge.pki.x509 import Pair, new_server
from octoedge.runtime.clock import SystemClock
from octoedge.testing.streaming import StreamsAt
from octoedge.testing.tls import TlsWorld, make

PODS = {"shop/cart": "edge-1", "shop/away": "edge-9", "shop/pending": ""}


# ---- an API server with pods, one ConfigMap and a verdict ----------------------------------------------------------


@dataclass
class FakeApi:
    """The four answers that CloudStream needs."""

    client_ca: str
    allowed: bool = False
    version: int = 1
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def config_map(self) -> dict[str, Any]:
        metadata = {
            "name": "extension-apiserver-authentication", "namespace": "kube-system", "uid": "u",
            "resourceVersion": str(self.version),
        }  # fmt: skip
        data = {"client-ca-file": self.client_ca}
        return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": data}

    def change_ca(self, pem: str) -> None:
        self.client_ca, self.version = pem, self.version + 1
        self.changed.set()

    async def pod(self, request: web.Request) -> web.Response:
        node = PODS.get(f"{request.match_info['ns']}/{request.match_info['name']}")
        if node is None:
            message = f'pods "{request.match_info["name"]}" not found'
            body = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": message}
            return web.json_response(body, status=404)
        return web.json_response(
            {"kind": "Pod", "apiVersion": "v1", "metadata": {"uid": "u1"}, "spec": {"nodeName": node}}
        )

    async def config_maps(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            metadata = {"resourceVersion": str(self.version)}
            return web.json_response(
                {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata, "items": [self.config_map()]}
            )
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await self.changed.wait()
            self.changed.clear()
            await response.write(msgspec.json.encode({"type": "MODIFIED", "object": self.config_map()}) + b"\n")

    async def review(self, request: web.Request) -> web.Response:
        return web.json_response({"status": {"allowed": self.allowed}}, status=201)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/api/v1/namespaces/{ns}/pods/{name}", self.pod)
        app.router.add_get("/api/v1/namespaces/kube-system/configmaps", self.config_maps)
        app.router.add_post("/apis/authorization.k8s.io/v1/subjectaccessreviews", self.review)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


# ---- the edge's logs -----------------------------------------------------------------------------------------------


@dataclass
class FakeEnds:
    """A container that has written one line."""

    handed_over: asyncio.Event = field(default_factory=asyncio.Event)

    def log_keys(self) -> list[LogKey]:
        return [LogKey("shop", "cart", "u1", "app")]

    def log_news(self, key: LogKey, since: LogMark | None, most: int) -> LogNews | None:
        assert (key.container, most) == ("app", 32768)
        if since is None:
            return LogNews(b"2026-11-21T07:00:00Z the last line\n", True, LogMark(0, 1, 1))
        self.handed_over.set()
        return None


@dataclass
class FakeLogs(StreamsAt):
    """A container that says what it is told to."""

    asked: list[LogRequest] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=lambda: [b"one\n", b"two \xff\xfe\n"])
    open_bodies: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    ends: FakeEnds = field(default_factory=FakeEnds)

    async def logs(self, request: LogRequest) -> AsyncIterator[bytes]:
        self.asked.append(request)
        if request.container == "nope":
            raise bad_request(f'container "nope" in pod "{request.pod}" is not available')
        return self._body(request.follow)

    async def _body(self, follow: bool) -> AsyncIterator[bytes]:
        self.open_bodies += 1
        try:
            for chunk in self.chunks:
                yield chunk
            if follow:
                await asyncio.Event().wait()
        finally:
            self.open_bodies -= 1
            self.ended.set()


# ---- the whole way -------------------------------------------------------------------------------------------------


@dataclass
class World:
    """One cloud, one edge, one API server."""

    tls: TlsWorld
    kubernetes: TlsWorld
    api: FakeApi
    cloud: CloudStream
    edge: EdgeStream
    logs: FakeLogs
    session: aiohttp.ClientSession
    client_tls: ssl.SSLContext
    edge_task: asyncio.Task[None]

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.cloud.stream_port}{path}"

    async def get(self, path: str, tls: ssl.SSLContext | None = None) -> tuple[int, bytes]:
        async with self.session.get(self.url(path), ssl=tls or self.client_tls) as response:
            return response.status, await response.read()


def client_tls(folder: Path, ca: Pair, organization: str) -> ssl.SSLContext:
    """What an API server shows to a kubelet."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.load_der_x509_certificate(ca.certificate)
    signer = serialization.load_der_private_key(ca.key, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "developers"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver-kubelet-client"),
        ]
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(issuer.subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1)).sign(signer, hashes.SHA256())
    )  # fmt: skip
    file = folder / f"client-{time.monotonic_ns()}.pem"
    pem = serialization.Encoding.PEM
    file.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(file)
    return context


@contextlib.asynccontextmanager
async def world(folder: Path, *, organization: str = "system:masters") -> AsyncIterator[World]:
    tls = make(folder / "kubeedge")
    kubernetes = make(folder / "kubernetes")
    api = FakeApi(kubernetes.ca_file.read_text())
    authority = Authority(tls.ca, new_server(tls.ca, ["127.0.0.1"], time.time()))
    nowhere = str(folder / "nowhere")
    settings = cloud_config.CloudStream(
        enable=True, tunnel_port=0, stream_port=0, tls_tunnel_ca_file=nowhere, tls_tunnel_cert_file=nowhere,
        tls_tunnel_private_key_file=nowhere, tls_stream_ca_file=nowhere, tls_stream_cert_file=nowhere,
        tls_stream_private_key_file=nowhere,
    )  # fmt: skip
    async with api.serving() as server, Client(Access(server)) as client, aiohttp.ClientSession() as session:
        kept = cloud_config.KeptLogs(directory=str(folder / "kept"))
        cloud = CloudStream(settings, client, lambda: authority, SystemClock(), host="127.0.0.1", kept=kept)
        async with asyncio.TaskGroup() as group:
            ready = asyncio.Event()
            cloud_task = group.create_task(cloud.run(ready.set))
            async with asyncio.timeout(10):
                await ready.wait()
            logs = FakeLogs()
            dial = tunnel_dial(edge_settings(tls, cloud), "edge-1", lambda: "192.0.2.7")
            edge = EdgeStream(dial, logs, ends=logs.ends, tail_seconds=0.05)
            edge_task = group.create_task(edge.run(lambda: None))
            inside = World(
                tls,
                kubernetes,
                api,
                cloud,
                edge,
                logs,
                session,
                client_tls(folder, kubernetes.ca, organization),
                edge_task,
            )
            await cloud.wait("edge-1", connected=True)
            try:
                yield inside
            finally:
                edge_task.cancel()
                cloud_task.cancel()


def edge_settings(tls: TlsWorld, cloud: CloudStream) -> edge_config.EdgeStream:
    return edge_config.EdgeStream(
        enable=True, server=f"127.0.0.1:{cloud.tunnel_port}", tls_tunnel_ca_file=str(tls.ca_file),
        tls_tunnel_cert_file=str(tls.certificate_file), tls_tunnel_private_key_file=str(tls.key_file),
    )  # fmt: skip


def in_world(folder: Path, test: Callable[[World], Any], **options: str) -> None:
    async def main() -> None:
        async with world(folder, **options) as inside, asyncio.timeout(30):
            await test(inside)

    asyncio.run(main())
