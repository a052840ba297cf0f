"""CloudCore's doors on real sockets: who gets in, who does not and why, and that garbage hurts nobody."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace

from octoedge.api.config.cloudcore import CloudCoreConfig
from octoedge.api.config.load import default_cloudcore
from octoedge.cloud.cloudcore import CloudCore
from octoedge.pki import token, x509
from octoedge.protocol import codec, routes
from octoedge.protocol.message import Header, Message, Route
from octoedge.protocol.payloads import Keepalive
from octoedge.runtime.clock import SystemClock
from octoedge.testing.kube import MemoryApi

HEADERS = {"node_id": "edge-1", "project_id": "e632", "ConnectionUse": "msg"}
GARBAGE = [b"\x00" * 5000, b"\xff\xfe" * 3000, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"A" * 9000]


def _config(folder: Path) -> CloudCoreConfig:
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
    monitor = replace(config.common_config.monitor_server, bind_address="127.0.0.1:0")
    return replace(
        config,
        modules=replace(config.modules, cloud_hub=hub),
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
async def _doors(folder: Path) -> AsyncIterator[Doors]:
    api = MemoryApi()
    core = CloudCore(_config(folder), api.client(), SystemClock())
    async with asyncio.TaskGroup() as group, aiohttp.ClientSession() as session:
        task = group.create_task(core.run())
        async with asyncio.timeout(10.0):
            await core.ready()
        began, ended = asyncio.Event(), asyncio.Event()
        core.sessions.listen(began=lambda _: began.set(), ended=lambda _: ended.set())
        yield Doors(core, api, folder, session, began, ended)
        core.stop()
        await task


def test_a_machine_joins_and_speaks(tmp_path: Path) -> None:
    async def main() -> None:
        async with _doors(tmp_path) as doors:
            status, ca = await doors.get("/ca.crt")
            minted = doors.core.authority.mint(expires=int(time.time()) + 60)
            token.check_ca(minted, ca)
            status, der = await doors.enrol(f"Bearer {token.split(minted)[1]}")
            assert (status, x509.read_der(der, "x").common_name) == (200, "system:node:edge-1")
            status, _ = await doors.get(
                "/edge.crt",
                tls=doors.tls("edge-1"),
                headers={"NodeName": "edge-1"},
                body=x509.new_node_request("edge-1")[1],
            )
            assert status == 200, "renewal needs no token"
            await doors.lives()

    asyncio.run(main())


def test_wrong_tokens_get_the_texts_that_a_go_edge_knows(tmp_path: Path) -> None:
    async def main() -> None:
        async with _doors(tmp_path) as doors:
            good = doors.bearer()
            foreign = token.split(token.mint(b"ca", b"another key", expires=int(time.time()) + 60))[1]
            for authorization, text in {
                "": "token validation failure, token is empty",
                good: "token validation failure, token cannot be split",
                f"Bearer {doors.core.authority.mint(expires=1)}": "token contains an invalid number of segments",
                f"Bearer {good[:-3]}AAA": "token signature is invalid: signature is invalid",
                f"Bearer {foreign}": "made by another cloud",
                f"Bearer {doors.bearer(seconds=-1)}": "token has invalid claims: token is expired",
            }.items():
                status, body = await doors.enrol(authorization)
                assert (status, text in body.decode()) == (401, True), (authorization, body)

    asyncio.run(main())


def test_a_certificate_is_only_for_the_node_that_asks(tmp_path: Path) -> None:
    async def main() -> None:
        async with _doors(tmp_path) as doors:
            status, body = await doors.enrol(f"Bearer {doors.bearer()}", node="edge-1", subject="edge-2")
            assert status == 500
            assert b"failed to sign certs for edgenode edge-1" in body
            status, body = await doors.get(
                "/edge.crt",
                tls=doors.tls("edge-2"),
                headers={"NodeName": "edge-1"},
                body=x509.new_node_request("edge-1")[1],
            )
            assert status == 401
            assert body == (
                b"failed to verify the certificate for edgenode: edge-1, "
                b"err: request node name is not match with the certificate"
            )
            headers = {"NodeName": "edge-1", "Authorization": f"Bearer {doors.bearer()}"}
            status, body = await doors.get("/edge.crt", headers=headers, body=b"no request")
            assert status == 500
            assert b"failed to parse csr" in body

    asyncio.run(main())


def test_a_name_that_is_connected_is_taken(tmp_path: Path) -> None:
    async def main() -> None:
        async with _doors(tmp_path) as doors:
            async with doors.channel(doors.tls("edge-1")) as socket:
                await socket.send_bytes(codec.encode(routes.compose(Keepalive(), message_id="k", timestamp=0)))
                await doors.began.wait()
                status, body = await doors.enrol(f"Bearer {doors.bearer()}")
                assert status == 409
                assert b"give this machine another name" in body
            await doors.ended.wait()
            assert (await doors.enrol(f"Bearer {doors.bearer()}"))[0] == 200

    asyncio.run(main())


def test_a_cloud_of_ours_shows_itself_to_edges_of_ours_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with _doors(tmp_path) as doors:
            for store, shown in (({}, False), ({"octoedge-store": "x"}, True)):
                async with doors.channel(doors.tls("edge-1"), {**HEADERS, **store}) as socket:
                    headers = socket._response.headers
                    assert ("octoedge-version" in headers) is shown

    asyncio.run(main())


def test_other_paths_and_methods(tmp_path: Path) -> None:
    async def main() -> None:
        async with _doors(tmp_path) as doors:
            assert await doors.get("/whatever") == (404, b"404: Page Not Found")
            assert await doors.get("/edge.crt", method="POST") == (405, b"405: Method Not Allowed")
            assert await doors.get("/node/edge-1") == (404, b"Node not found")
            assert await doors.get("/node/a%2Fb") == (404, b"Node not found")
            await doors.api.create("/api/v1/nodes", {"metadata": {"name": "edge-1"}})
            assert await doors.get("/node/edge-1") == (200, b"Node founded")
            assert (await doors.get("/nodeupgrade", method="POST"))[0] == 501

    asyncio.run(main())


def test_a_certificate_of_another_ca_does_not_get_in(tmp_path: Path) -> None:
    async def main() -> None:
        async with _doors(tmp_path) as doors:
            foreign = doors.tls("edge-1", ca=x509.new_authority(time.time()))
            for tls in (foreign, doors.tls()):
                with pytest.raises((aiohttp.ClientError, OSError)):
                    async with doors.channel(tls) as socket:
                        await socket.receive(timeout=5.0)
            assert not doors.core.sessions.connected
            await doors.lives()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({**HEADERS, "node_id": "edge-2"}, "under the name that its certificate was issued for"),
        ({"ConnectionUse": "msg"}, "header node_id must name the node"),
        ({"node_id": "edge-1"}, "only 'msg' is served"),
    ],
)
def test_a_refusal_says_why(tmp_path: Path, headers: dict[str, str], text: str) -> None:
    async def main() -> None:
        async with _doors(tmp_path) as doors:
            url = f"https://127.0.0.1:{doors.core.websocket.server.port}/any/path"
            upgrade = {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            }
            async with doors.session.get(url, ssl=doors.tls("edge-1"), headers={**upgrade, **headers}) as response:
                assert (response.status, text in await response.text()) == (403, True)

    asyncio.run(main())


def test_a_message_of_40_megabytes_ends_its_connection_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with _doors(tmp_path) as doors:
            async with doors.channel(doors.tls("edge-1")) as socket:
                await _throw(socket, b'{"header":{"msg_id":"x"},"content":"' + b"x" * 40_000_000 + b'"}')
            await doors.lives()

    asyncio.run(main())


async def _throw(socket: aiohttp.ClientWebSocketResponse, data: bytes) -> None:
    try:
        await socket.send_bytes(data)
    except (ConnectionError, aiohttp.ClientError):
        return
    message = await socket.receive(timeout=10.0)
    assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


def test_garbage_on_every_port_hurts_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        async with _doors(tmp_path) as doors:
            core = doors.core
            for port in (core.https.port, core.websocket.server.port, core.monitor.port):
                for garbage in GARBAGE:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    try:
                        writer.write(garbage)
                        async with asyncio.timeout(5.0):
                            await writer.drain()
                            writer.write_eof()
                            await reader.read()
                    except ConnectionError:
                        pass
                    finally:
                        writer.close()
            async with doors.channel(doors.tls("edge-1")) as socket:
                await socket.send_bytes(b"\x00\xff not JSON")
                assert (await socket.receive(timeout=5.0)).type is not aiohttp.WSMsgType.TEXT
            await doors.lives()

    asyncio.run(main())


def test_health_names_the_connected_nodes(tmp_path: Path) -> None:
    async def main() -> None:
        async with _doors(tmp_path) as doors:
            base = f"http://127.0.0.1:{doors.core.monitor.port}"
            async with doors.channel(doors.tls("edge-1")):
                await doors.began.wait()
                async with doors.session.get(f"{base}/healthz") as response:
                    health = json.loads(await response.text())
                async with doors.session.get(f"{base}/metrics") as response:
                    metrics = await response.text()
            assert (health["ok"], health["nodes"]) == (True, ["edge-1"])
            assert "connected_nodes 1\n" in metrics
            async with doors.session.get(f"{base}/other") as response:
                assert response.status == 404

    asyncio.run(main())


def test_a_second_cloudcore_adopts_the_authority_of_the_first(tmp_path: Path) -> None:
    async def main() -> None:
        async with _doors(tmp_path) as doors:
            other = CloudCore(_config(tmp_path), doors.api.client(), SystemClock(), listen=False)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(other.run())
                await other.ready()
                assert other.authority == doors.core.authority
                other.stop()
                await task

    asyncio.run(main())
