"""`kubectl logs` on real sockets: API server → 10003 → 10004 → edge, with certificates that are checked."""

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
import pytest
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
from octoedge.errors import ConnectionRefusedByPeer, TransportError, bad_request
from octoedge.kube.access import Access
from octoedge.kube.client import Client
from octoedge.pki.authority import Authority
from octoedge.pki.x509 import Pair, new_server
from octoedge.protocol.tunnel import NODE_HEADER, PATH
from octoedge.runtime.clock import SystemClock
from octoedge.testing.streaming import StreamingServer, StreamsAt
from octoedge.testing.tls import TlsWorld, make
from octoedge.transport import websocket
from octoedge.transport.spdy import Data, Framer

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


def test_a_log_comes_through_byte_for_byte(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        path = "/containerLogs/shop/cart/app?tailLines=5&timestamps=true"
        assert await w.get(path) == (200, b"one\ntwo \xff\xfe\n")
        assert w.logs.asked == [LogRequest("shop", "cart", "app", timestamps=True, tail_lines=5)]
        assert w.logs.open_bodies == 0

    in_world(tmp_path, test)


def test_errors_keep_their_status_and_text(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        nope = await w.get("/containerLogs/shop/cart/nope")
        assert nope == (400, b'container "nope" in pod "cart" is not available')
        assert await w.get("/containerLogs/shop/cart/app?tailLines=x") == (
            400, b'{"message": "Unable to decode query."}',
        )  # fmt: skip
        assert await w.get("/containerLogs/shop/none/app") == (404, b'pods "none" not found')
        assert await w.get("/containerLogs/shop/pending/app") == (400, b"pod pending does not have a host assigned")
        assert (await w.get("/configz"))[0] == 404
        status, text = await w.get("/pods")  # of a node called 127.0.0.1
        assert (status, b"node 127.0.0.1 has had no tunnel" in text) == (503, True)
        assert await w.get("/exec/shop/cart/app") == (400, b"Upgrade request required")

    in_world(tmp_path, test)


def test_a_node_without_a_tunnel_is_answered_at_once_with_since_when(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        began = time.monotonic()
        status, text = await w.get("/containerLogs/shop/away/app")
        assert time.monotonic() - began < 5
        assert status == 503
        assert b"node edge-9 has had no tunnel to the cloud since 20" in text
        w.edge_task.cancel()
        await w.cloud.wait("edge-1", connected=False)
        status, text = await w.get("/containerLogs/shop/cart/other")
        assert status == 503
        assert b"node edge-1 has no tunnel to the cloud since 20" in text

    in_world(tmp_path, test)


def test_the_log_of_a_node_that_is_away_is_what_the_cloud_kept(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        async with asyncio.timeout(10):
            await w.logs.ends.handed_over.wait()
        await w.get("/containerLogs/shop/cart/app")  # its answer comes behind what was handed over
        w.edge_task.cancel()
        await w.cloud.wait("edge-1", connected=False)
        url = w.url("/containerLogs/shop/cart/app?follow=true")
        async with w.session.get(url, ssl=w.client_tls, headers={"Octoedge-Warnings": "true"}) as answer:
            assert (answer.status, await answer.read()) == (200, b"the last line\n")
            warning = answer.headers["Warning"]
            assert warning.startswith('299 - "node edge-1 has no tunnel to the cloud since 20')
            assert "What the cloud last kept of the log is from 20" in warning
        status, text = await w.get("/containerLogs/shop/cart/app?timestamps=true")  # a kube-apiserver drops headers
        first, second = text.splitlines()
        assert (status, second) == (200, b"2026-11-21T07:00:00Z the last line")
        assert first.startswith(b"# node edge-1 has no tunnel to the cloud since 20")
        for path, missing in (
            (
                "/containerLogs/shop/cart/app?previous=true",
                b"the cloud keeps nothing of a container's previous instance",
            ),
            ("/containerLogs/shop/cart/other", b"the cloud has kept nothing of this log"),
        ):
            status, text = await w.get(path)
            assert (status, missing in text) == (503, True)

    in_world(tmp_path, test)


def test_a_large_log_arrives_whole(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        w.logs.chunks = [bytes([number % 251]) * 70_001 for number in range(400)]
        status, body = await w.get("/containerLogs/shop/cart/app")
        assert status == 200
        assert body == b"".join(w.logs.chunks)

    in_world(tmp_path, test)


def test_a_reader_that_does_not_read_holds_up_nobody_and_takes_no_memory(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        w.logs.chunks = [b"x" * 65_536] * 1000
        async with w.session.get(w.url("/containerLogs/shop/cart/app"), ssl=w.client_tls) as lazy:
            assert lazy.status == 200
            w.logs.chunks = [b"quick\n"]
            for _ in range(5):
                assert await w.get("/containerLogs/shop/cart/app") == (200, b"quick\n")
            assert w.logs.open_bodies == 1

    in_world(tmp_path, test)


def test_a_reader_that_leaves_ends_the_stream_at_the_edge(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        async with w.session.get(w.url("/containerLogs/shop/cart/app?follow=true"), ssl=w.client_tls) as response:
            assert await response.content.readline() == b"one\n"
            assert w.logs.open_bodies == 1
        await w.logs.ended.wait()
        assert w.logs.open_bodies == 0
        assert await w.get("/containerLogs/shop/cart/app") == (200, b"one\ntwo \xff\xfe\n")

    in_world(tmp_path, test)


def test_a_tunnel_that_breaks_ends_the_log_visibly(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        async with w.session.get(w.url("/containerLogs/shop/cart/app?follow=true"), ssl=w.client_tls) as response:
            assert await response.content.readline() == b"one\n"
            assert await response.content.readline() == b"two \xff\xfe\n"
            w.edge_task.cancel()
            assert (await response.content.readline()).startswith(b"# the log breaks off here: ")
            with pytest.raises(aiohttp.ClientError):
                await response.read()

    in_world(tmp_path, test)


@pytest.mark.parametrize("allowed", [True, False])
def test_who_is_no_master_needs_the_api_servers_word(tmp_path: Path, allowed: bool) -> None:
    async def test(w: World) -> None:
        w.api.allowed = allowed
        status, _ = await w.get("/containerLogs/shop/cart/app")
        assert status == (200 if allowed else 403)
        assert len(w.logs.asked) == allowed

    in_world(tmp_path, test, organization="kubeadm:cluster-admins")


def test_a_client_without_or_with_a_foreign_certificate_gets_nothing(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        nobody.check_hostname = False
        nobody.verify_mode = ssl.CERT_NONE
        of_the_edges = client_tls(tmp_path, w.tls.ca, "system:masters")
        for tls in (nobody, of_the_edges):
            with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
                await w.get("/containerLogs/shop/cart/app", tls)
        assert w.logs.asked == []

    in_world(tmp_path, test)


def test_a_client_ca_that_changes_counts_from_the_next_connection(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        newer = make(tmp_path / "newer")
        with_newer = client_tls(tmp_path, newer.ca, "system:masters")
        with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
            await w.get("/containerLogs/shop/cart/app", with_newer)
        w.api.change_ca(newer.ca_file.read_text())
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(aiohttp.ClientError, ssl.SSLError):
                    assert (await w.get("/containerLogs/shop/cart/app", with_newer))[0] == 200
                    break
                await asyncio.sleep(0.02)
        # A fresh context: the old one could resume its session.
        older = client_tls(tmp_path, w.kubernetes.ca, "system:masters")
        with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
            await w.get("/containerLogs/shop/cart/app", older)

    in_world(tmp_path, test)


@pytest.mark.parametrize(
    ("claimed", "path", "said"),
    [("edge-2", PATH, "HTTP 403"), ("edge-1", "/other", "HTTP 404"), ("", PATH, "HTTP 403")],
)
def test_a_node_may_open_only_its_own_tunnel(tmp_path: Path, claimed: str, path: str, said: str) -> None:
    async def test(w: World) -> None:
        endpoint = websocket.Endpoint(
            f"wss://127.0.0.1:{w.cloud.tunnel_port}{path}", w.tls.ca_file, w.tls.certificate_file, w.tls.key_file,
            {NODE_HEADER: claimed},
        )  # fmt: skip
        with pytest.raises(ConnectionRefusedByPeer, match=said):
            await websocket.connect(endpoint)

    in_world(tmp_path, test)


def test_an_edge_of_another_cloud_is_refused(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        other = make(tmp_path / "other")
        mixed = TlsWorld(other.directory, other.ca, w.tls.ca_file, other.certificate_file, other.key_file)
        with pytest.raises(TransportError):
            await asyncio.wait_for(tunnel_dial(edge_settings(mixed, w.cloud), "edge-1", str)(), 20)

    in_world(tmp_path, test)


def test_an_edge_does_not_talk_to_a_cloud_that_the_ca_does_not_vouch_for(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        other = make(tmp_path / "other")
        with pytest.raises(TransportError, match="does not vouch for"):
            await tunnel_dial(edge_settings(other, w.cloud), "edge-1", str)()

    in_world(tmp_path, test)


def test_a_cloud_under_an_address_that_its_certificate_lacks_is_told_apart(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        settings = edge_config.EdgeStream(
            server=f"localhost:{w.cloud.tunnel_port}",
            tls_tunnel_ca_file=str(w.tls.ca_file),
            tls_tunnel_cert_file=str(w.tls.certificate_file),
            tls_tunnel_private_key_file=str(w.tls.key_file),
        )
        with pytest.raises(TransportError, match=r"add this one to modules\.cloudHub\.advertiseAddress"):
            await tunnel_dial(settings, "edge-1", str)()

    in_world(tmp_path, test)


def test_the_newest_tunnel_of_a_node_wins_and_the_older_one_ends(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        w.edge_task.cancel()
        dial = tunnel_dial(edge_settings(w.tls, w.cloud), "edge-1", str)
        first = await dial()
        second = await dial()
        with pytest.raises(TransportError):
            await first.receive()
        assert list(w.cloud.connected) == ["edge-1"]
        await first.close()
        await second.close()

    in_world(tmp_path, test)


@pytest.mark.parametrize("port", ["tunnel_port", "stream_port"])
def test_garbage_on_a_port_ends_only_its_own_connection(tmp_path: Path, port: str) -> None:
    async def test(w: World) -> None:
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + b"\xff" * 500, b"\0" * 3000):
            reader, writer = await asyncio.open_connection("127.0.0.1", getattr(w.cloud, port))
            writer.write(garbage)
            with contextlib.suppress(ConnectionError):
                await reader.read(1000)
            writer.close()
        assert (await w.get("/containerLogs/shop/cart/app"))[0] == 200

    in_world(tmp_path, test)


# ---- exec, attach, port-forward: raw bytes ---------------------------------------------------------------------------

EXEC = "/exec/shop/cart/app?command=cat&input=1&output=1"


@contextlib.asynccontextmanager
async def raw(
    w: World, target: str = EXEC, upgrade: str = "raw"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, str]]:
    """A connection to 10003 that asks to leave HTTP, and the head of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", w.cloud.stream_port, ssl=w.client_tls)
    writer.write(f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n".encode())
    try:
        yield reader, writer, (await reader.readuntil(b"\r\n\r\n")).decode()
    finally:
        writer.transport.abort()


def with_runtime(
    folder: Path, test: Callable[[World, StreamingServer], Any], runtime: StreamingServer | None = None
) -> None:
    async def inside(w: World) -> None:
        async with (runtime or StreamingServer()).running() as server:
            w.logs.server = server
            await test(w, server)

    in_world(folder, inside)


def test_ten_megabytes_go_in_and_come_out_byte_for_byte(tmp_path: Path) -> None:
    every = bytes(range(256)) * 40_000

    async def test(w: World, server: StreamingServer) -> None:
        async with raw(w) as (reader, writer, head), asyncio.TaskGroup() as group:
            assert head.startswith("HTTP/1.1 101 ")

            async def send() -> None:
                writer.write(every)
                await writer.drain()

            group.create_task(send())
            assert await reader.readexactly(len(every)) == every
        await server.until_open(0)
        assert w.logs.streams_asked[0].command == ("cat",)

    with_runtime(tmp_path, test)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/exec/shop/away/app?output=1", 503), ("/exec/shop/cart/app", 400), ("/portForward/shop/pending", 400),
        ("/attach/shop/none/app?output=1", 404),
    ],
)  # fmt: skip
def test_raw_requests_are_refused_with_their_status(tmp_path: Path, target: str, status: int) -> None:
    async def test(w: World, _: StreamingServer) -> None:
        async with raw(w, target) as (_reader, _writer, head):
            assert head.startswith(f"HTTP/1.1 {status} ")

    with_runtime(tmp_path, test)


def test_a_raw_client_that_is_killed_frees_both_ends(tmp_path: Path) -> None:
    async def test(w: World, server: StreamingServer) -> None:
        async with raw(w):
            await server.until_open(1)
        await server.until_open(0)

    with_runtime(tmp_path, test)


def test_a_tunnel_that_breaks_ends_raw_streams(tmp_path: Path) -> None:
    async def test(w: World, server: StreamingServer) -> None:
        async with raw(w, "/portForward/shop/cart") as (reader, _, _head):
            w.edge_task.cancel()
            assert await reader.read() == b""
        await server.until_open(0)

    with_runtime(tmp_path, test)


def test_a_command_whose_tunnel_breaks_has_an_outcome(tmp_path: Path) -> None:
    async def test(w: World, server: StreamingServer) -> None:
        asked = "SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io"
        async with raw(w, upgrade=asked) as (reader, writer, _head):
            writer.write(Framer().syn_stream(1, {"streamType": "error"}))
            assert b"\x80\x03" in await reader.read(100)
            w.edge_task.cancel()
            (last,) = Framer().feed(await reader.read())
        assert isinstance(last, Data)
        assert (last.stream, last.fin) == (1, True)
        status = msgspec.json.decode(last.data)
        assert status["status"] == "Failure"
        assert "the node may have gone away (node edge-1: " in status["message"]
        await server.until_open(0)

    with_runtime(tmp_path, test)


def test_a_client_that_never_reads_holds_up_only_its_own_container(tmp_path: Path) -> None:
    async def test(w: World, server: StreamingServer) -> None:
        async with raw(w):
            await server.held_up.wait()
            assert server.written < 40_000_000
            server.flood = False
            for _ in range(5):
                async with raw(w) as (reader, writer, _head):
                    writer.write(b"quick")
                    assert await reader.readexactly(5) == b"quick"
            assert await w.get("/containerLogs/shop/cart/app") == (200, b"one\ntwo \xff\xfe\n")
        await server.until_open(0)

    with_runtime(tmp_path, test, StreamingServer(flood=True))


def test_a_container_that_never_reads_holds_up_only_its_own_client(tmp_path: Path) -> None:
    async def push(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x" * 1_000_000)
            await writer.drain()

    async def test(w: World, server: StreamingServer) -> None:
        async with raw(w) as (_, writer, _head):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(push(writer), 1)
            server.silent = False
            async with raw(w) as (reader, other, _head):
                other.write(b"quick")
                assert await reader.readexactly(5) == b"quick"

    with_runtime(tmp_path, test, StreamingServer(silent=True))
