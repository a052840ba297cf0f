"""CloudCore's doors on real sockets: who gets in, who does not and why, and that garbage hurts nobody."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import aiohttp
import pytest

from octoedge.cloud.cloudcore import CloudCore
from octoedge.pki import token, x509
from octoedge.protocol import codec, routes
from octoedge.protocol.payloads import Keepalive
from octoedge.runtime.clock import SystemClock
from octoedge.testing.doors import HEADERS, listening_config
from octoedge.testing.doors import doors as listening

GARBAGE = [b"\x00" * 5000, b"\xff\xfe" * 3000, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"A" * 9000]


def test_a_machine_joins_and_speaks(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path) as doors:
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
        async with listening(tmp_path) as doors:
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
        async with listening(tmp_path) as doors:
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
        async with listening(tmp_path) as doors:
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
        async with listening(tmp_path) as doors:
            for store, shown in (({}, False), ({"octoedge-store": "x"}, True)):
                async with doors.channel(doors.tls("edge-1"), {**HEADERS, **store}) as socket:
                    headers = socket._response.headers
                    assert ("octoedge-version" in headers) is shown

    asyncio.run(main())


def test_other_paths_and_methods(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path) as doors:
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
        async with listening(tmp_path) as doors:
            foreign = doors.tls("edge-1", ca=x509.new_authority(time.time()))
            for tls in (foreign, doors.tls()):
                with pytest.raises((aiohttp.ClientError, OSError)):
                    async with doors.channel(tls) as socket:
                        await socket.receive(timeout=30)
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
        async with listening(tmp_path) as doors:
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
        async with listening(tmp_path) as doors:
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
        async with listening(tmp_path) as doors:
            core = doors.core
            for port in (core.https.port, core.websocket.server.port, core.monitor.port):
                for garbage in GARBAGE:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    try:
                        writer.write(garbage)
                        async with asyncio.timeout(30):
                            await writer.drain()
                            writer.write_eof()
                            await reader.read()
                    except ConnectionError:
                        pass
                    finally:
                        writer.close()
            async with doors.channel(doors.tls("edge-1")) as socket:
                await socket.send_bytes(b"\x00\xff not JSON")
                assert (await socket.receive(timeout=30)).type is not aiohttp.WSMsgType.TEXT
            await doors.lives()

    asyncio.run(main())


def test_health_names_the_connected_nodes(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path) as doors:
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
        async with listening(tmp_path) as doors:
            other = CloudCore(listening_config(tmp_path), doors.api.client(), SystemClock(), listen=False)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(other.run())
                await other.ready()
                assert other.authority == doors.core.authority
                other.stop()
                await task

    asyncio.run(main())
