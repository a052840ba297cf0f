"""Outlets in virtual time, before servers that are away, slow, refuse, or surprise."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from octoedge.errors import TransportError, ValueRefused
from octoedge.mappers.push import hub as hubs
from octoedge.mappers.push.hub import Hub
from octoedge.mappers.push.sending import Sample, Taken
from octoedge.mappers.push.settings import Redis, Target
from octoedge.testing.clock import run

HERE, THERE = Redis("here", 6379, 0), Redis("there", 6379, 0)


class Server:
    """What a method's server may do."""

    def __init__(self) -> None:
        self.values: list[str] = []
        self.away: Exception | None = None
        self.delay = 0.0
        self.poison = ""
        self.only = 1000
        """So many of a batch are taken, then the connection breaks."""
        self.ends = False
        """Whether it ends connections that were of use before."""
        self.tries = 0
        self.opened = 0


class Sender:
    """Implements `sending.Sender`."""

    batch = 100

    def __init__(self, server: Server) -> None:
        self.server = server
        self.used = False
        server.opened += 1

    async def send(self, samples: Sequence[Sample]) -> Taken:
        server = self.server
        server.tries += 1
        await asyncio.sleep(server.delay)
        if server.away is not None:
            raise server.away
        if server.ends and self.used:
            raise TransportError("the server ended the connection")
        self.used = True
        if server.poison and any(server.poison in sample.value for sample in samples):
            raise ValueRefused("a field has another type")
        server.values += [sample.value for sample in samples[: server.only]]
        left = samples[server.only :]
        return Taken(left, "it broke" if left else "")

    async def close(self) -> None:
        await asyncio.sleep(0)


@asynccontextmanager
async def pushing(**servers: Server) -> AsyncIterator[Hub]:
    async with asyncio.TaskGroup() as group:

        def opened(target: Target, _group: asyncio.TaskGroup) -> Sender:
            assert isinstance(target, Redis)
            return Sender(servers[target.host])

        hub = Hub(group, opened)
        hub.wants("plant/boiler", [Redis(name, 6379, 0) for name in servers])
        yield hub
        hub.wants("plant/boiler", ())


def put(hub: Hub, values: Sequence[object], target: Redis = HERE) -> None:
    for number, value in enumerate(values):
        hub.put(Sample(target, "plant", "boiler", "t", "float", str(value), number))


def test_values_come_in_their_order_on_a_kept_connection() -> None:
    async def main() -> None:
        server = Server()
        async with pushing(here=server) as hub:
            put(hub, range(250))
            await asyncio.sleep(1.0)
            assert server.values == [str(number) for number in range(250)]
            assert (server.tries, server.opened) == (3, 1)
            assert hub.counts["pushed", "redis"] == 250
            assert hub.waiting() == {"redis": 0}

    run(main())


def test_a_server_that_is_away_gets_all_of_it_later_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = Server()
        server.away = TransportError("nobody answers")
        async with pushing(here=server) as hub:
            put(hub, range(10))
            await asyncio.sleep(300.0)
            assert 10 < server.tries < 25
            server.away = None
            put(hub, range(10, 12))
            await asyncio.sleep(40.0)
            assert server.values == [str(number) for number in range(12)]
            assert hub.counts["push_failures", "redis"] == server.tries - 1

    with caplog.at_level(logging.INFO):
        run(main())
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "pushing by redis to here:6379/0: nobody answers" in caplog.text


def test_a_connection_that_grew_old_costs_nothing_and_is_not_said(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = Server()
        server.ends = True
        async with pushing(here=server) as hub:
            for number in range(5):
                put(hub, [number])
                await asyncio.sleep(0.01)
            assert server.values == ["0", "1", "2", "3", "4"]
            assert server.opened == 5
            assert hub.counts["push_failures", "redis"] == 0

    run(main())
    assert caplog.records == []


def test_of_too_many_the_oldest_are_dropped_and_counted() -> None:
    async def main() -> None:
        server = Server()
        server.away = TransportError("nobody answers")
        async with pushing(here=server) as hub:
            put(hub, range(hubs.LIMIT + 300))
            await asyncio.sleep(100.0)
            assert hub.waiting() == {"redis": hubs.LIMIT} or hub.waiting() == {"redis": hubs.LIMIT - Sender.batch}
            server.away = None
            await asyncio.sleep(100.0)
            assert server.values == [str(number) for number in range(300, hubs.LIMIT + 300)]
            assert hub.counts["push_dropped", "redis"] == 300

    run(main())


def test_what_a_server_refuses_holds_up_nothing_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = Server()
        server.poison = "bad"
        async with pushing(here=server) as hub:
            put(hub, [0, "bad1", 2, 3, "bad2", 5])
            await asyncio.sleep(1.0)
            assert server.values == ["0", "2", "3", "5"]
            assert hub.counts["push_refused", "redis"] == 2
            assert hub.counts["pushed", "redis"] == 4

    run(main())
    assert len(caplog.records) == 1
    assert "plant/boiler/t is refused: a field has another type" in caplog.text


def test_a_server_that_takes_a_part_gets_the_rest_once() -> None:
    async def main() -> None:
        server = Server()
        server.only = 3
        async with pushing(here=server) as hub:
            put(hub, range(10))
            await asyncio.sleep(60.0)
            assert server.values == [str(number) for number in range(10)]
            assert hub.counts["pushed", "redis"] == 10

    run(main())


def test_a_slow_server_holds_up_no_other_one() -> None:
    async def main() -> None:
        slow, good = Server(), Server()
        slow.delay = 3600.0
        async with pushing(here=slow, there=good) as hub:
            put(hub, [1])
            put(hub, range(5), THERE)
            await asyncio.sleep(0.1)
            assert len(good.values) == 5
            slow.delay = 0.0
            await asyncio.sleep(hubs.SEND_SECONDS + 1)
            assert slow.values == ["1"]

    run(main())


def test_a_library_that_surprises_ends_no_outlet() -> None:
    async def main() -> None:
        server = Server()
        server.away = AssertionError("a library's own")
        async with pushing(here=server) as hub:
            put(hub, [1])
            await asyncio.sleep(1.0)
            server.away = None
            await asyncio.sleep(5.0)
            assert server.values == ["1"]

    run(main())


def test_who_wants_a_server_no_more_lets_it_go_and_others_keep_it() -> None:
    async def main() -> None:
        server = Server()
        async with pushing(here=server) as hub:
            hub.wants("plant/other", [HERE])
            hub.wants("plant/boiler", ())
            put(hub, [1])
            await asyncio.sleep(0.1)
            assert server.values == ["1"]
            server.away = TransportError("nobody answers")
            put(hub, [2, 3])
            await asyncio.sleep(0.1)
            hub.wants("plant/other", ())
            await asyncio.sleep(0.1)
            assert hub.waiting() == {}
            assert hub.counts["push_dropped", "redis"] == 2
            put(hub, [4])
            server.away = None
            hub.wants("plant/boiler", [HERE])
            put(hub, [5])
            await asyncio.sleep(0.1)
            assert server.values == ["1", "5"]

    run(main())


def test_a_package_that_is_missing_is_said_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        def opened(target: Target, group: asyncio.TaskGroup) -> Sender:
            raise ImportError("No module named 'redis'")

        async with asyncio.TaskGroup() as group:
            hub = Hub(group, opened)
            hub.wants("plant/boiler", [HERE])
            put(hub, [1])
            await asyncio.sleep(1.0)
            hub.wants("plant/boiler", ())
            hub.wants("plant/nobody", ())

    run(main())
    assert "No module named 'redis'" in caplog.text
