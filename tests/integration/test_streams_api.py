"""exec, attach and port-forward at the API server: real sockets on both sides, every way that clients speak."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from octoedge.apiserver.apiserver import ApiServer, Settings
from octoedge.testing.streaming import StreamingServer
from octoedge.testing.tls import make
from octoedge.transport.spdy import Data, Framer

PODS = "/api/v1/namespaces/default/pods"
EXEC = f"{PODS}/cart/exec?command=cat&stdin=true&stdout=true"
V5, V4, FORWARD = "v5.channel.k8s.io", "v4.channel.k8s.io", "SPDY/3.1+portforward.k8s.io"


@dataclass
class World:
    """One API server with one pod, and what is behind 10003."""

    port: int
    session: aiohttp.ClientSession
    tls: ssl.SSLContext
    kubelet: StreamingServer

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.port}{path}"

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        async with self.session.request(method, self.url(path), json=body, headers=headers, ssl=self.tls) as answer:
            return answer.status, await answer.json(content_type=None)

    @contextlib.asynccontextmanager
    async def socket(self, path: str, *protocols: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        async with self.session.ws_connect(self.url(path), ssl=self.tls, protocols=protocols) as opened:
            yield opened

    async def spdy(self, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        """A raw connection and the head of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n"
            "X-Stream-Protocol-Version: v4.channel.k8s.io\r\nX-Stream-Protocol-Version: channel.k8s.io\r\n\r\n".encode()
        )
        return reader, writer, (await reader.readuntil(b"\r\n\r\n")).decode()


def in_world(
    folder: Path, test: Callable[[World], Awaitable[None]], kubelet: StreamingServer | None = None, *,
    by_node: bool = False,
) -> None:  # fmt: skip
    async def main() -> None:
        theirs = make(folder / "kubelet")
        context = theirs.server(want_client=False)
        async with (kubelet or StreamingServer()).running(context) as behind, asyncio.timeout(50):
            with socket.socket() as found:
                found.bind(("127.0.0.1", 0))
                port = found.getsockname()[1]
            door = "" if by_node else f"https://127.0.0.1:{behind.port}"
            settings = Settings(folder / "api", port=port, kubelet_endpoint=door)
            server = ApiServer(settings)
            async with asyncio.TaskGroup() as group, aiohttp.ClientSession() as session:
                group.create_task(server.run())
                await server.ready()
                tls = ssl.create_default_context(cafile=str(folder / "api/pki/ca.crt"))
                tls.load_cert_chain(folder / "api/pki/admin.crt", folder / "api/pki/admin.key")
                world = World(port, session, tls, behind)
                pod = {"metadata": {"name": "cart"}, "spec": {"nodeName": "n1", "containers": [CONTAINER]}}
                assert (await world.ask("POST", PODS, pod))[0] == 201
                try:
                    await test(world)
                finally:
                    server.stop()

    asyncio.run(main())


CONTAINER = {"name": "app", "image": "i:v1"}


async def messages(socket: aiohttp.ClientWebSocketResponse) -> list[bytes]:
    """All that comes until the server closes; pieces of one channel joined."""
    got: dict[int, bytes] = {}
    async for message in socket:
        got[message.data[0]] = got.get(message.data[0], b"") + message.data[1:]
    return [bytes((channel,)) + data for channel, data in sorted(got.items())]


def test_a_v5_client_sends_every_byte_closes_its_input_and_hears_the_exit_code(tmp_path: Path) -> None:
    every = bytes(range(256)) * 4096

    async def test(w: World) -> None:
        async with w.socket(EXEC, V5) as client:
            assert client.protocol == V5
            for start in range(0, len(every), 30_000):
                await client.send_bytes(b"\0" + every[start : start + 30_000])
            await client.send_bytes(b"\xff\0")
            out, outcome = await messages(client)
            assert out == b"\x01" + every
            status = msgspec.json.decode(outcome[1:])
            assert (outcome[0], status["reason"]) == (3, "NonZeroExitCode")
            assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
            assert client.close_code == 1000
        head = w.kubelet.heads[0].split("\r\n")
        assert head[0] == "POST /exec/default/cart/app?command=cat&input=1&output=1 HTTP/1.1"
        assert "X-Stream-Protocol-Version: v4.channel.k8s.io" in head
        await w.kubelet.until_open(0)

    in_world(tmp_path, test, StreamingServer(exit_code=3))


def test_a_spdy_client_is_passed_on_as_it_is(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        reader, writer, head = await w.spdy(EXEC)
        assert head.startswith("HTTP/1.1 101 ")
        framer = Framer()
        for stream, kind in ((1, "error"), (3, "stdin"), (5, "stdout")):
            writer.write(framer.syn_stream(stream, {"streamType": kind}))
        writer.write(framer.data(3, b"hello", fin=True))
        out = b""
        while not out.endswith(b'Success"}'):
            out += b"".join(e.data for e in framer.feed(await reader.read(65536)) if isinstance(e, Data))
        assert out.startswith(b"hello")
        assert w.kubelet.heads[0].count("X-Stream-Protocol-Version: ") == 2
        writer.close()
        await w.kubelet.until_open(0)

    in_world(tmp_path, test)


def test_a_nodes_own_address_is_dialled_where_there_is_no_direct_door(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError) as unknown:
            async with w.socket(EXEC, V5):
                pass
        assert unknown.value.status == 404
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": w.kubelet.port}},
        }
        assert (await w.ask("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}, "status": status}))[0] == 201
        async with w.socket(EXEC, V5) as client:
            await client.send_bytes(b"\0here")
            await client.send_bytes(b"\xff\0")
            assert (await messages(client))[0] == b"\x01here"

    in_world(tmp_path, test, by_node=True)


def test_a_port_forward_is_unwrapped(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        async with w.socket(f"{PODS}/cart/portforward", FORWARD) as client:
            framer = Framer()
            wire = framer.syn_stream(1, {"streamtype": "error", "port": "80", "requestid": "0"})
            wire += framer.syn_stream(3, {"streamtype": "data", "port": "80", "requestid": "0"})
            wire += framer.data(3, b"GET / HTTP/1.0\r\n\r\n")
            for byte in range(0, len(wire), 7):  # cut anywhere
                await client.send_bytes(wire[byte : byte + 7])
            got = b""
            while len(got) < 18:
                got += b"".join(e.data for e in framer.feed((await client.receive()).data) if isinstance(e, Data))
            assert got == b"GET / HTTP/1.0\r\n\r\n"
        head = w.kubelet.heads[0]
        assert head.startswith("POST /portForward/default/cart HTTP/1.1\r\n")
        assert "X-Stream-Protocol-Version: portforward.k8s.io\r\n" in head
        await w.kubelet.until_open(0)

    in_world(tmp_path, test)


def test_a_v4_client_reaches_the_node_as_it_is(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError):  # our echo is no WebSocket server
            async with w.socket(EXEC, V4):
                pass
        head = w.kubelet.heads[0]
        assert head.startswith("GET /exec/default/cart/app?command=cat&input=1&output=1 HTTP/1.1\r\n")
        assert f"Sec-WebSocket-Protocol: {V4}\r\n" in head
        await w.kubelet.until_open(0)

    in_world(tmp_path, test)


def test_a_node_that_is_away_is_told_in_http_before_anything_is_opened(tmp_path: Path) -> None:
    body = b"node n1 has no tunnel to the cloud since 2026-11-21T05:00:00Z; try again when the node is back"
    away = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    async def test(w: World) -> None:
        began = time.monotonic()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with w.socket(EXEC, V5):
                pass
        assert refused.value.status == 503
        reader, writer, head = await w.spdy(EXEC)
        assert head.startswith("HTTP/1.1 503 ")
        status = msgspec.json.decode(await reader.readline())
        assert (status["reason"], status["message"]) == ("ServiceUnavailable", body.decode())
        writer.close()
        assert time.monotonic() - began < 5

    in_world(tmp_path, test, StreamingServer(refuse=away))


def test_a_cut_link_ends_the_command_with_a_sentence(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        async with w.socket(EXEC, V5) as client:
            await client.send_bytes(b"\0xxx")
            await w.kubelet.until_open(1)
            w.kubelet.cut()
            outcome = (await messages(client))[-1]
            assert outcome[0] == 3
            assert "the node may have gone away" in msgspec.json.decode(outcome[1:])["message"]

    in_world(tmp_path, test)


def test_a_cut_link_is_told_to_spdy_clients_too(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        reader, writer, _ = await w.spdy(EXEC)
        framer = Framer()
        for stream, kind in ((1, "error"), (3, "stdin"), (5, "stdout")):
            writer.write(framer.syn_stream(stream, {"streamType": kind}))
        writer.write(framer.data(3, b"hello"))
        seen: list[Data] = []
        while not seen:
            seen += [e for e in framer.feed(await reader.read(65536)) if isinstance(e, Data)]
        w.kubelet.cut()
        rest = [e for e in framer.feed(await reader.read()) if isinstance(e, Data)]
        assert (rest[-1].stream, rest[-1].fin) == (1, True)
        assert "the node may have gone away" in msgspec.json.decode(rest[-1].data)["message"]
        writer.close()

    in_world(tmp_path, test)


def test_a_client_that_is_killed_frees_the_nodes_end(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        _, writer, _ = await w.spdy(EXEC)
        async with w.socket(EXEC, V5) as client, w.socket(f"{PODS}/cart/portforward", FORWARD):
            await w.kubelet.until_open(3)
            writer.transport.abort()
            await w.kubelet.until_open(2)
            transport = client.get_extra_info("socket")
            assert transport is not None
        await w.kubelet.until_open(0)

    in_world(tmp_path, test)


def test_a_client_that_never_reads_takes_no_memory_and_holds_up_nobody(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        _, lazy, _ = await w.spdy(EXEC)
        await w.kubelet.held_up.wait()
        assert w.kubelet.written < 40_000_000
        assert (await w.ask("GET", PODS))[0] == 200
        lazy.transport.abort()
        await w.kubelet.until_open(0)

    in_world(tmp_path, test, StreamingServer(flood=True))


@pytest.mark.parametrize(
    ("path", "upgrade", "code", "text"),
    [
        (EXEC, False, 400, "Upgrade request required"),
        (f"{PODS}/none/exec?command=x&stdout=true", True, 404, 'pods "none" not found'),
        (f"{PODS}/cart/exec?command=x", True, 400, "you must specify at least 1 of stdin, stdout, stderr"),
        (f"{PODS}/cart/exec?stdout=true", True, 400, "you must specify a command"),
        (f"{PODS}/cart/exec?command=x&stdout=true&container=no", True, 400, "container no is not valid for pod cart"),
    ],
)
def test_what_cannot_be_asked_is_said(tmp_path: Path, path: str, upgrade: bool, code: int, text: str) -> None:
    async def test(w: World) -> None:
        headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"} if upgrade else {}
        status, body = await w.ask("POST", path, **headers)
        assert (status, body["message"]) == (code, text)
        assert w.kubelet.heads == []

    in_world(tmp_path, test)


def test_who_may_only_read_may_not_exec(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        for method in ("GET", "POST"):
            status, body = await w.ask(method, EXEC, **{"Impersonate-User": "reader"})
            assert status == 403
            assert 'User "reader" cannot create resource "pods/exec"' in body["message"]

    in_world(tmp_path, test)


def test_two_hundred_at_once(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        async def one(number: int) -> None:
            async with w.socket(EXEC, V5) as client:
                await client.send_bytes(b"\0" + str(number).encode())
                await client.send_bytes(b"\xff\0")
                assert (await messages(client))[0] == b"\x01" + str(number).encode()

        async with asyncio.TaskGroup() as group:
            for number in range(200):
                group.create_task(one(number))
        await w.kubelet.until_open(0)

    in_world(tmp_path, test)
