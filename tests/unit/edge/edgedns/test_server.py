"""The name server, asked by UDP and TCP."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket

import pytest

from octoedge.edge.edgedns import wire
from octoedge.edge.edgedns.records import Records
from octoedge.edge.edgedns.wire import Code, text_name

from .test_answer import alias, endpoint, part, shop
from .world import ask_tcp, ask_udp, name_server, says, upstream

WEB = wire.ask(3, text_name("web.shop.svc.cluster.local"), wire.A)
WORLD = wire.ask(4, text_name("www.example.com"), wire.A)


def test_cluster_names_are_known_here_and_others_there() -> None:
    async def main() -> None:
        async with upstream(says(b"\1\2\3\4")) as world, name_server(shop(), world.port) as port:
            for answer in (await ask_udp(port, WEB), (await ask_tcp(port, WEB))[0]):
                assert len(wire.read_answers(answer)) == 3
                assert answer[2] & 4, "authoritative"
            assert not world.asked
            answers = [await ask_udp(port, WORLD), *await ask_tcp(port, WORLD, WEB, WORLD)]
            assert [len(wire.read_answers(one)) for one in answers] == [1, 1, 3, 1]
            assert len(world.asked) == 1

    asyncio.run(main())


def test_an_external_name_is_followed_to_the_world_and_within_the_cluster() -> None:
    async def main() -> None:
        async with upstream(says(b"\1\2\3\4", ttl=900)) as world, name_server(shop(), world.port) as port:
            data = wire.ask(5, text_name("shopkeeper.shop.svc.cluster.local"), wire.A)
            found = wire.read_answers(await ask_udp(port, data))
            assert [(one.type, one.ttl) for one in found] == [(wire.CNAME, 5), (wire.A, 5)]
            assert found[1].name == ("www", "example", "com")
            data = wire.ask(5, text_name("mirror.shop.svc.cluster.local"), wire.A)
            assert len(wire.read_answers(await ask_udp(port, data))) == 4

    asyncio.run(main())


def test_external_names_in_a_circle_are_an_error() -> None:
    async def main() -> None:
        records = Records()
        records.set_slices([])
        records.set_aliases(
            [alias("a", "b.shop.svc.cluster.local"), alias("b", "a.shop.svc.cluster.local"), alias("c", "x" * 70)]
        )
        async with name_server(records) as port:
            for name in ("a", "c"):
                answer = await ask_udp(port, wire.ask(1, text_name(f"{name}.shop.svc.cluster.local"), wire.A))
                assert wire.code_of(answer) == Code.FAILED

    asyncio.run(main())


def test_without_the_world_cluster_names_go_on_and_others_fail_at_once() -> None:
    async def main() -> None:
        async with name_server(shop()) as port:
            assert len(wire.read_answers(await ask_udp(port, WEB))) == 3
            assert wire.code_of(await ask_udp(port, WORLD, seconds=2)) == Code.FAILED

    asyncio.run(main())


def test_a_service_with_many_pods_says_so_and_is_told_whole_by_tcp() -> None:
    async def main() -> None:
        records = Records()
        records.set_slices([part("web", *(endpoint(f"10.0.0.{number}", f"web-{number}") for number in range(100)))])
        async with name_server(records) as port:
            short = await ask_udp(port, WEB)
            assert len(short) <= 512
            assert wire.is_truncated(short)
            assert len(wire.read_answers((await ask_tcp(port, WEB))[0])) == 100
            srv = wire.ask(1, text_name("_http._tcp.web.shop.svc.cluster.local"), wire.SRV)
            assert len([1 for _ in wire.places((await ask_tcp(port, srv))[0])]) == 200

    asyncio.run(main())


def test_garbage_hurts_nobody() -> None:
    async def main() -> None:
        rng = random.Random(1)
        async with name_server(shop()) as port:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hostile:
                for _ in range(100):
                    data = bytearray(WEB)
                    for _ in range(rng.randrange(1, 8)):
                        data[rng.randrange(len(data))] = rng.randrange(256)
                    hostile.sendto(bytes(data[: rng.randrange(len(data) + 1)]), ("127.0.0.1", port))
            for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0", b"\xff\xff" + b"x" * 100, b"\0\3abc"):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(nonsense)
                writer.write_eof()
                async with asyncio.timeout(10):
                    with contextlib.suppress(ConnectionResetError):
                        await reader.read()
                writer.close()
            assert len(wire.read_answers(await ask_udp(port, WEB))) == 3

    asyncio.run(main())


def test_so_many_connections_and_no_more() -> None:
    async def main() -> None:
        async with name_server(shop()) as port:
            kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(64)]
            for reader, writer in kept:
                writer.write(len(WEB).to_bytes(2, "big") + WEB)
                assert await reader.readexactly(2)
            with contextlib.suppress(ConnectionResetError):
                assert await ask_tcp(port, WEB) == []
            for _, writer in kept:
                writer.close()

    asyncio.run(main())


@pytest.mark.parametrize("name", ["web.shop.svc.cluster.local", "www.example.com"])
def test_a_query_that_is_wrong_is_told_what_is_wrong(name: str) -> None:
    async def main() -> None:
        async with name_server(shop()) as port:
            data = wire.ask(1, text_name(name), wire.A)
            assert wire.code_of(await ask_udp(port, data[:5] + b"\2" + data[6:])) == Code.FORMAT
            assert wire.code_of(await ask_udp(port, data[:2] + b"\x28" + data[3:])) == Code.NOT_IMPLEMENTED

    asyncio.run(main())
