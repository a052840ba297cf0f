"""The OPC UA link against a real server over sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from octoedge.errors import ConfigError, DeviceError, ValueRefused
from octoedge.mappers.framework.device import Device, Property
from octoedge.mappers.opcua.link import connect
from octoedge.mappers.opcua.simulator import serve

RUN = Property("run", "BOOLEAN", visitor={"nodeID": "ns=2;s=Pump.Run"})
SET = Property("set", "DOUBLE", visitor={"nodeID": "ns=2;s=Pump.Set"})
SPEED = Property("speed", "DOUBLE", visitor={"nodeID": "ns=2;s=Pump.Speed"})
LOST = Property("lost", visitor={"nodeID": "ns=2;s=Nowhere"})
ODD = Property("odd", visitor={"nodeID": "pump three"})


def _device(port: int, **settings: Any) -> Device:
    properties = {prop.name: prop for prop in (RUN, SET, SPEED, LOST, ODD)}
    return Device("plant", "pump", settings={"url": f"opc.tcp://127.0.0.1:{port}", **settings}, properties=properties)


@contextlib.asynccontextmanager
async def _pump() -> AsyncIterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    ready = asyncio.Event()
    task = asyncio.get_running_loop().create_task(serve("127.0.0.1", port, ready=ready))
    await ready.wait()
    try:
        yield port
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _moments() -> AsyncIterator[None]:
    """Half a second, in which the pump comes to a stop."""
    for _ in range(10):
        await asyncio.sleep(0.05)
        yield


def test_values_are_read_in_one_request_and_written_in_the_servers_types() -> None:
    async def main() -> None:
        async with _pump() as port:
            link = await connect(_device(port))
            found = await link.read([RUN, SET, LOST, ODD])
            assert (found["run"], found["set"]) == (True, 1500.0)
            assert "BadNodeIdUnknown" in str(found["lost"])
            assert "visitors.configData.nodeID" in str(found["odd"])
            await link.write(SET, 900.0)
            await link.write(RUN, False)
            assert await link.get("ns=2;s=Pump.Set") == 900.0
            speeds = [(await link.read([SPEED]))["speed"] async for _ in _moments()]
            assert speeds[-1] == 0.0
            with pytest.raises(ValueRefused):
                await link.write(SPEED, 1.0)
            with pytest.raises(ConfigError):
                await link.write(ODD, 1.0)
            await link.close()

    asyncio.run(main())


def test_a_server_tells_by_itself_what_changed() -> None:
    async def main() -> None:
        speed = Property("speed", "DOUBLE", visitor={"nodeID": "ns=2;s=Pump.Speed", "subscribe": "true"})
        lost = Property("lost", visitor={"nodeID": "ns=2;s=Nowhere", "subscribe": True})
        async with _pump() as port, asyncio.timeout(30):
            settings = {"url": f"opc.tcp://127.0.0.1:{port}", "samplingInterval": 20}
            device = Device("plant", "pump", settings=settings, properties={"speed": speed, "lost": lost})
            link = await connect(device)
            told: asyncio.Queue[list[str]] = asyncio.Queue()
            listening = asyncio.get_running_loop().create_task(link.listen(lambda names: told.put_nowait(list(names))))
            await link.set("ns=2;s=Pump.Set", 700.0)
            while (await link.read([speed]))["speed"] != 700.0:
                assert await told.get() == ["speed"]
            assert "BadNodeIdUnknown" in str((await link.read([lost]))["lost"])
            listening.cancel()
            await asyncio.wait([listening])
            await link.close()

    asyncio.run(main())


def test_devices_at_one_server_share_a_session_and_come_back_to_a_new_one() -> None:
    async def main() -> None:
        speed = Property("speed", "DOUBLE", visitor={"nodeID": "ns=2;s=Pump.Speed", "subscribe": True})
        async with _pump() as port, asyncio.timeout(60):
            settings = {"url": f"opc.tcp://127.0.0.1:{port}", "timeout": 2}
            devices = [Device("plant", f"p{n}", settings=settings, properties={"speed": speed}) for n in range(50)]
            links = await asyncio.gather(*(connect(device) for device in devices))
            assert len({id(link._session) for link in links}) == 1
            stranger = await connect(_device(port, timeout=3))
            assert stranger._session is not links[0]._session, "its deadline is another"
            told: asyncio.Queue[None] = asyncio.Queue()
            tasks = [
                asyncio.get_running_loop().create_task(one.listen(lambda _: told.put_nowait(None))) for one in links
            ]
            for _ in links:
                await told.get()
            await links[0].close()
            assert (await links[1].read([speed]))["speed"] == 1500.0, "one that goes leaves the others"
        done, _ = await asyncio.wait(tasks, timeout=20)
        assert len(done) == 50, "the server is gone: each is told"
        assert all(isinstance(task.exception(), DeviceError) for task in done)
        with pytest.raises(DeviceError, match="no connection"):
            await connect(devices[0])
        for link in (*links[1:], stranger):
            await link.close()

    asyncio.run(main())


def test_a_server_that_is_away_or_goes_away_gives_an_error() -> None:
    async def main() -> None:
        with pytest.raises(DeviceError, match="no connection"):
            await connect(_device(9))
        async with _pump() as port:
            link = await connect(_device(port))
        with pytest.raises(DeviceError):
            await link.read([RUN])
        await link.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "http://x"},
        {"timeout": "long"},
        {"samplingInterval": 1},
        {"securityPolicy": "Rot13"},
        {"securityPolicy": "Basic256Sha256", "securityMode": "Maybe"},
        {"securityPolicy": "Basic256Sha256", "certificate": "/nowhere.pem", "privateKey": "/nowhere.key"},
        {"userName": "op", "passwordFile": "/nowhere/password"},
    ],
)
def test_settings_that_make_no_sense_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^protocol\.configData\."):
        asyncio.run(connect(_device(9, **settings)))
