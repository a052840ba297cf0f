"""A CloudCore that listens on real sockets, and what a machine needs to knock: certificates, tokens, a WebSocket."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from msgspec.structs import replace

from octoedge.api.config.cloudcore import CloudCoreConfig
from octoedge.api.config.load import default_cloudcore
from octoedge.cloud.cloudcore import CloudCore
from octoedge.pki import token, x509
from octoedge.protocol import codec
from octoedge.protocol.message import Header, Message, Route
from octoedge.runtime.clock import Clock, SystemClock
from octoedge.testing.apiserver import free_port
from octoedge.testing.kube import MemoryApi

HEADERS = {"node_id": "edge-1", "project_id": "e632", "ConnectionUse": "msg"}


def listening_config(folder: Path) -> CloudCoreConfig:
    """Free ports, and no files of the machine."""
    config = default_cloudcore()
    hub = config.modules.cloud_hub
    hub = replace(
        hub,
        websocket=replace(hub.websocket, address="127.0.0.1", port=0),
        https=replace(hub.https, address="127.0.0.1", port=0),
        tls_ca_file=str(folder / "ca.crt"),
        tls_ca_key_file=str(folder / "ca.key"),
        tls_cert_file=str(folder / "server.crt"),
        tls_private_key_file=str(folder / "server.key"),
    )
    stream = replace(config.modules.cloud_stream, enable=True, stream_port=0, tunnel_port=free_port())
    for name in ("ca_file", "cert_file", "private_key_file"):
        nowhere = {f"tls_{port}_{name}": str(folder / f"{port}-{name}") for port in ("tunnel", "stream")}
        stream = replace(stream, **nowhere)
    monitor = replace(config.common_config.monitor_server, bind_address="127.0.0.1:0")
    return replace(
        config,
        modules=replace(config.modules, cloud_hub=hub, cloud_stream=stream),
        octoedge=replace(config.octoedge, kept_logs=replace(config.octoedge.kept_logs, enable=False)),
        common_config=replace(config.common_config, monitor_server=monitor),
    )


@dataclass
class Doors:
    """A CloudCore that listens, and what a machine needs to knock."""

    core: CloudCore
    api: MemoryApi
    folder: Path
    session: aiohttp.ClientSession
    began: asyncio.Event
    ended: asyncio.Event

    def tls(self, node: str = "", ca: x509.Pair | None = None) -> ssl.SSLContext:
        """A client's context, with a certificate of `ca` (default: this cloud's) for `node`."""
        own = self.core.authority.ca
        context = ssl.create_default_context(cadata=x509.certificate_to_pem(own.certificate).decode())
        if node:
            key, csr = x509.new_node_request(node)
            certificate = x509.sign_node(ca or own, csr, node, days=1, now=time.time())
            chain = self.folder / f"{node}.pem"
            chain.write_bytes(key + x509.certificate_to_pem(certificate))
            context.load_cert_chain(chain)
        return context

    def bearer(self, *, seconds: int = 3600) -> str:
        """The part of a join token that goes into the header."""
        return token.split(self.core.authority.mint(expires=int(time.time()) + seconds))[1]

    async def get(
        self,
        path: str,
        *,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        method: str = "GET",
    ) -> tuple[int, bytes]:
        """One request to the https port."""
        url = f"https://127.0.0.1:{self.core.https.port}{path}"
        async with self.session.request(method, url, ssl=tls or self.tls(), headers=headers, data=body) as response:
            return response.status, await response.read()

    async def enrol(self, authorization: str, *, node: str = "edge-1", subject: str = "") -> tuple[int, bytes]:
        """Ask for a certificate with a token."""
        headers = {"NodeName": node} | ({"Authorization": authorization} if authorization else {})
        return await self.get("/edge.crt", headers=headers, body=x509.new_node_request(subject or node)[1])

    @asynccontextmanager
    async def channel(
        self, tls: ssl.SSLContext, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """An open WebSocket to the hub."""
        url = f"wss://127.0.0.1:{self.core.websocket.server.port}/e632/edge-1/events"
        async with self.session.ws_connect(url, ssl=tls, headers=dict(headers or HEADERS), max_msg_size=0) as socket:
            yield socket

    async def lives(self) -> None:
        """The process still serves a good node."""
        async with self.channel(self.tls("edge-1")) as socket:
            await socket.send_bytes(codec.encode(Message(Header(msg_id="k"), Route(operation="ping", resource="r"))))
            answer = await socket.receive(timeout=5.0)
            assert codec.decode(answer.data.encode()).header.parent_msg_id == "k"


@asynccontextmanager
async def doors(folder: Path, api: MemoryApi | None = None, clock: Clock | None = None) -> AsyncIterator[Doors]:
    """A CloudCore that is ready, on `api` (default: an empty one)."""
    api = api or MemoryApi()
    core = CloudCore(listening_config(folder), api.client(), clock or SystemClock())
    async with asyncio.TaskGroup() as group, aiohttp.ClientSession() as session:
        task = group.create_task(core.run())
        async with asyncio.timeout(10.0):
            await core.ready()
        began, ended = asyncio.Event(), asyncio.Event()
        core.sessions.listen(began=lambda _: began.set(), ended=lambda _: ended.set())
        yield Doors(core, api, folder, session, began, ended)
        core.stop()
        await task
