"""Names that are not found, that are found late, and addresses that do not answer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator

import pytest

from octoedge.errors import NameUnresolved
from octoedge.transport.reach import Found, Patience, look_up, reach

NAME = "cloud.example.test"


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made.getsockname()[1]


def _looking(name: str) -> int:
    return sum(thread.name == f"address of {name}" for thread in threading.enumerate())


def test_an_address_and_a_name_are_reached(listener: int) -> None:
    async def main() -> None:
        for host in ("127.0.0.1", "localhost"):
            made = await reach(host, listener)
            assert made.getpeername() == ("127.0.0.1", listener)
            assert made.proto == socket.IPPROTO_TCP, "or asyncio leaves Nagle's waiting on"
            made.close()

    asyncio.run(main())


def test_the_next_address_is_tried_and_the_last_one_said(listener: int) -> None:
    def two(_: str, port: int) -> Found:
        return [(socket.AF_INET, ("127.0.0.1", 1)), (socket.AF_INET, ("127.0.0.1", port))]

    async def main() -> None:
        (await reach(NAME, listener, two)).close()
        with pytest.raises(ConnectionRefusedError):
            await reach(NAME, 1, two)

    asyncio.run(main())


@pytest.mark.parametrize("host", [NAME + ".invalid", "a" * 70 + ".example", "bad\x00name"])
def test_what_no_name_server_knows_is_said(host: str) -> None:
    def unknown(host: str, _: int) -> Found:
        return look_up(host, -1) if "\x00" in host else _not_known()

    async def main() -> None:
        with pytest.raises(NameUnresolved, match="cannot be resolved"):
            await reach(host, 1, unknown)

    asyncio.run(main())


def _not_known() -> Found:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_name_server_that_is_back_answers_though_an_older_question_still_hangs(listener: int) -> None:
    over = threading.Event()
    calls = itertools.count()

    def look(_: str, port: int) -> Found:
        if next(calls) == 0:
            over.wait(60)
        return [(socket.AF_INET, ("127.0.0.1", port))]

    async def main() -> None:
        (await reach(NAME, listener, look, Patience(again=0.01))).close()
        assert _looking(NAME) >= 1, "the one that hangs, which nobody waits for"

    try:
        asyncio.run(main())
    finally:
        over.set()


def test_name_servers_that_never_answer_are_given_up_and_hold_few_threads() -> None:
    over = threading.Event()

    def look(_: str, __: int) -> Found:
        over.wait(60)
        return _not_known()

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(NameUnresolved, match=r"no name server answered within 0\.2 s"):
                await reach("dead.example.test", 1, look, Patience(name=0.2, again=0.001))
            assert _looking("dead.example.test") <= 6

    try:
        asyncio.run(main())
    finally:
        over.set()


def test_a_host_that_says_nothing_is_given_up() -> None:
    async def main(port: int) -> None:
        with pytest.raises(OSError, match=r"127\.0\.0\.1 port \d+ did not answer within 0\.2 s"):
            await reach("127.0.0.1", port, patience=Patience(connect=0.2))

    with socket.create_server(("127.0.0.1", 0), backlog=0) as made, contextlib.ExitStack() as waiting:
        port = made.getsockname()[1]
        for _ in range(3):  # nobody accepts: further ones get no answer from the kernel
            queued = waiting.enter_context(socket.socket())
            queued.setblocking(False)
            queued.connect_ex(("127.0.0.1", port))
        asyncio.run(main(port))
