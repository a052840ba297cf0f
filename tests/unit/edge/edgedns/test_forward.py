"""Names of the world: asked of the node's name servers, in time."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from octoedge.edge.edgedns import forward, wire
from octoedge.edge.edgedns.forward import Forwarder, Resolvers, Server, read_servers
from octoedge.edge.edgedns.wire import Code
from octoedge.errors import DeadlineError

from .world import Given, free_port, says, upstream

ASKED = wire.ask(7, ("www", "example", "com"), wire.A)
ADDRESS = b"\1\2\3\4"


def test_an_answer_comes_under_the_askers_number_and_is_kept() -> None:
    async def main() -> None:
        async with upstream(says(ADDRESS)) as server:
            forwarder = Forwarder(Given(server.port))
            message = await forwarder.resolve(ASKED)
            assert wire.answers_to(message, ASKED)
            assert [one.data for one in wire.read_answers(message)] == [ADDRESS]
            again = wire.ask(8, ("www", "example", "com"), wire.A)
            assert wire.answers_to(await forwarder.resolve(again), again)
            assert len(server.asked) == 1

    asyncio.run(main())


def test_answers_to_something_else_are_passed_over() -> None:
    async def main() -> None:
        first: list[bytes] = []

        def reply(data: bytes, by_tcp: bool) -> bytes | None:
            first.append(data)
            good = says(ADDRESS)(data, by_tcp)
            assert good is not None
            if len(first) == 1:
                return bytes((good[0] ^ 1,)) + good[1:]
            return good

        async with upstream(reply) as server:
            message = await Forwarder(Given(server.port)).resolve(ASKED)
            assert wire.read_answers(message)
            assert len(first) == 2, "the forged one was not taken, and it was asked again"

    asyncio.run(main())


def test_a_server_that_is_not_there_costs_nothing_and_the_other_is_asked_first_from_then_on() -> None:
    async def main() -> None:
        async with upstream(says(ADDRESS, ttl=0)) as server:
            servers = Given(free_port(), server.port)
            forwarder = Forwarder(servers)
            assert wire.read_answers(await forwarder.resolve(ASKED))
            assert servers.servers()[0].port == server.port

    asyncio.run(main())


def test_a_server_that_fails_is_passed_over_and_its_word_counts_in_the_end() -> None:
    def fails(data: bytes, by_tcp: bool) -> bytes:
        query = wire.read_query(data)
        assert query is not None
        return wire.failed(query)

    async def main() -> None:
        async with upstream(fails) as bad, upstream(says(ADDRESS)) as good:
            assert wire.read_answers(await Forwarder(Given(bad.port, good.port)).resolve(ASKED))
            assert wire.code_of(await Forwarder(Given(bad.port)).resolve(ASKED)) == Code.FAILED

    asyncio.run(main())


def test_a_long_answer_comes_by_tcp_for_who_wants_it_whole() -> None:
    async def main() -> None:
        many = [bytes((10, 0, number >> 8, number & 255)) for number in range(300)]
        async with upstream(says(*many)) as server:
            forwarder = Forwarder(Given(server.port))
            assert wire.is_truncated(await forwarder.resolve(ASKED))
            whole = await forwarder.resolve(ASKED, whole=True)
            assert len(wire.read_answers(whole)) == 300

    asyncio.run(main())


def test_without_servers_there_is_no_answer_at_once() -> None:
    async def main() -> None:
        for servers in (Given(), Given(free_port())):
            async with asyncio.timeout(2 * forward.TRY_SECONDS):  # sooner than two tries would be over
                with pytest.raises(DeadlineError, match="none of the node's name servers"):
                    await Forwarder(servers).resolve(ASKED)

    asyncio.run(main())


def test_so_many_questions_at_once_and_no_more() -> None:
    async def main() -> None:
        async with upstream(lambda data, by_tcp: None) as server:
            forwarder = Forwarder(Given(server.port))
            async with asyncio.TaskGroup() as group:
                waiting = [
                    group.create_task(forwarder.resolve(wire.ask(1, (f"n{number}",), wire.A)))
                    for number in range(forward.AT_ONCE)
                ]
                await asyncio.sleep(0)
                assert forwarder.under_way == forward.AT_ONCE
                with pytest.raises(DeadlineError, match="under way"):
                    await forwarder.resolve(ASKED)
                for task in waiting:
                    task.cancel()
            assert forwarder.under_way == 0

    asyncio.run(main())


def test_what_a_resolv_conf_says() -> None:
    text = """# nameserver 9.9.9.9
nameserver 10.88.77.1
nameserver 192.168.1.1 # the router
nameserver   fe80::1%eth0
nameserver not-an-address
nameserver 192.168.1.1
nameserver 8.8.8.8
nameserver 1.1.1.1
search example.com
"""
    hosts = [server.host for server in read_servers(text, {"10.88.77.1"})]
    assert hosts == ["192.168.1.1", "fe80::1%eth0", "8.8.8.8"]


def test_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    resolvers = Resolvers(file, ())
    assert resolvers.servers() == []
    file.write_text("nameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    assert [one.host for one in resolvers.servers()] == ["192.0.2.1", "192.0.2.2"]
    resolvers.prefer(Server("192.0.2.2"))
    assert resolvers.servers()[0] == Server("192.0.2.2")
    file.write_text("nameserver 192.0.2.3\n")
    os.utime(file, ns=(1, 1))
    assert resolvers.servers() == [Server("192.0.2.3")]
    file.unlink()
    assert resolvers.servers() == []
