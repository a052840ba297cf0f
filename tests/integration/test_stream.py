"""`kubectl logs` on real sockets: API server → 10003 → 10004 → edge, with certificates that are checked."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from pathlib import Path

import aiohttp
import pytest

from octoedge.api.config import edgecore as edge_config
from octoedge.edge.edgestream.edgestream import tunnel_dial
from octoedge.edge.ports import LogRequest
from octoedge.errors import ConnectionRefusedByPeer, TransportError
from octoedge.protocol.tunnel import NODE_HEADER, PATH
from octoedge.testing.tls import TlsWorld, make
from octoedge.transport import websocket

from .streamworld import World, client_tls, edge_settings, in_world


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
