"""The HTTP link against a real server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from octoedge.errors import ConfigError, DeviceError, ValueRefused
from octoedge.mappers.framework.device import Device, Property
from octoedge.mappers.framework.pointer import picked
from octoedge.mappers.http.link import Link, connect
from octoedge.mappers.http.simulator import Meter, serve

TOTAL = Property("total", "DOUBLE", visitor={"path": "/state", "pointer": "/energy/total"})
LIMIT = Property(
    "limit", "DOUBLE", visitor={"path": "/state", "pointer": "/limit", "writePath": "/limit", "writeKey": "value"}
)
ODD = Property("odd", visitor={"path": "/state", "pointer": "/nothing/here"})
LOST = Property("lost", visitor={"path": "/elsewhere"})


@contextlib.asynccontextmanager
async def _meter(**settings: Any) -> AsyncIterator[tuple[Meter, Link]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    meter, ready = Meter(), asyncio.Event()
    task = asyncio.get_running_loop().create_task(serve(meter, "127.0.0.1", port, ready=ready))
    await ready.wait()
    link = await connect(Device("plant", "meter", settings={"baseURL": f"http://127.0.0.1:{port}/", **settings}))
    try:
        yield meter, link
    finally:
        await link.close()
        task.cancel()
        await asyncio.wait([task])


def test_properties_of_one_path_are_read_in_one_request() -> None:
    async def main() -> None:
        async with _meter() as (meter, link):
            found = await link.read([TOTAL, LIMIT, ODD, LOST])
            assert meter.requests == 1
            assert (found["limit"], type(found["total"])) == (10.0, float)
            assert "nothing at '/nothing/here'" in str(found["odd"])
            assert "404" in str(found["lost"])
            assert isinstance(found["lost"], DeviceError)

    asyncio.run(main())


def test_a_value_is_written_or_refused_for_good() -> None:
    async def main() -> None:
        async with _meter() as (meter, link):
            await link.write(LIMIT, 20.5)
            assert meter.limit == 20.5
            with pytest.raises(ValueRefused, match="the limit is 0 to 100"):
                await link.write(LIMIT, 1000)
            with pytest.raises(ConfigError, match="writeMethod"):
                await link.write(Property("x", visitor={"writeMethod": "DELETE"}), 1)

    asyncio.run(main())


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=500),
        web.Response(text="garbage"),
        web.Response(text="[1"),
        web.Response(text="x" * (2 << 20)),
    ],
)
def test_a_server_that_answers_nonsense_gives_errors(answer: web.Response) -> None:
    async def main() -> None:
        async with _meter() as (meter, link):
            meter.answer = answer
            assert isinstance((await link.read([TOTAL]))["total"], DeviceError)

    asyncio.run(main())


def test_a_server_that_is_away_gives_an_error() -> None:
    async def main() -> None:
        link = await connect(Device("plant", "meter", settings={"baseURL": "http://127.0.0.1:9", "timeoutSeconds": 1}))
        assert isinstance((await link.read([TOTAL]))["total"], DeviceError)
        await link.close()

    asyncio.run(main())


@pytest.mark.parametrize("settings", [{}, {"baseURL": "ftp://x"}, {"baseURL": "http://x", "timeoutSeconds": "long"}])
def test_settings_that_make_no_sense_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^protocol\.configData\."):
        asyncio.run(connect(Device("plant", "meter", settings=settings)))


def test_what_a_pointer_picks() -> None:
    body = b'{"a":[{"b/c":1.5,"t":true}],"s":"x"}'
    assert picked(body, "/a/0/b~1c") == 1.5
    assert picked(body, "/a/0/t") is True
    assert picked(body, "/a/0") == '{"b/c":1.5,"t":true}'
    assert picked(b" 42\n", "") == "42"
    assert isinstance(picked(body, "/a/7"), DeviceError)


def test_bytes_are_base64_in_json_and_the_whole_answer_without_a_pointer() -> None:
    assert picked(b'{"key":"AP8="}', "/key", "BYTES") == b"\x00\xff"
    assert picked(b" \x00\xff", "", "BYTES") == b" \x00\xff"
    for nonsense in (b'{"key":"hello!"}', b'{"key":7}', b'{"key":null}'):
        assert isinstance(picked(nonsense, "/key", "BYTES"), DeviceError)
