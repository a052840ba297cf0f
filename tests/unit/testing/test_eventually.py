"""Waiting ends as soon as it may, and says what was seen when it may not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from octoedge.testing.eventually import eventually, listening


def test_what_is_so_is_given_at_once() -> None:
    assert eventually(lambda: 7, within=0) == 7


def test_what_comes_to_be_so_is_awaited() -> None:
    seen = iter([0, 0, 3])
    assert eventually(lambda: next(seen), lambda number: number > 2, within=10) == 3


def test_what_never_is_so_is_told() -> None:
    with pytest.raises(AssertionError, match="not so within 0 s; seen last: 'almost'"):
        eventually(lambda: "almost", lambda text: text == "done", within=0)


def test_a_look_that_fails_is_not_yet() -> None:
    answers: Iterator[Exception | str] = iter([ConnectionRefusedError("refused"), AssertionError("not there"), "there"])

    def look() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert eventually(look, within=10) == "there"


def test_another_error_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        eventually(lambda: 1 / 0, within=10)


def test_a_port_is_awaited_until_it_takes_connections() -> None:
    async def main() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            await listening(port)
        with pytest.raises(TimeoutError):
            await listening(port, within=0.1)

    asyncio.run(main())
