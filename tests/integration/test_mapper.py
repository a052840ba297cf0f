"""Our Modbus mapper between a Modbus server and a DeviceTwin, real sockets throughout."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from octoedge.mappers.framework import run as mappers
from octoedge.mappers.modbus.simulator import Thermometer, serve_serial, serve_tcp
from octoedge.protocol import payloads as p
from octoedge.runtime.clock import SystemClock
from octoedge.store.sqlite import Database
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.devices import DeviceWorld
from octoedge.testing.eventually import comes_true

EXAMPLES = Path(__file__).parents[2] / "examples" / "devices"
MODEL, DEVICE = yaml.safe_load_all((EXAMPLES / "thermometer.yaml").read_text())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Site:
    """A thermometer, a node's DeviceTwin, and mappers that come and go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cloud = CloudLink()
        self.world = DeviceWorld(folder, self.cloud, SystemClock(), Database)
        self.thermometer = Thermometer(seconds=0.5)
        self.port, self.http = _free_port(), _free_port()
        self.settings: dict[str, Any] = {
            "communicateMode": "TCP",
            "ip": "127.0.0.1",
            "port": str(self.port),
            "slaveID": 1,
        }

    async def put(self, *, name: str = "thermometer", namespace: str = "plant", **desired: str) -> None:
        """The Device, with these wishes."""
        properties = [
            {
                **prop,
                "collectCycle": 50,
                **({"desired": {"value": desired[prop["name"]]}} if prop["name"] in desired else {}),
            }
            for prop in ({k: v for k, v in one.items() if k != "desired"} for one in DEVICE["spec"]["properties"])
        ]
        protocol = {"protocolName": "modbus", "configData": self.settings}
        meta = {"name": name, "namespace": namespace, "uid": f"uid-{namespace}-{name}"}
        report = {"reportToCloud": True, "reportCycle": 200}
        spec = {**DEVICE["spec"], "properties": properties, "protocol": protocol, "stateReport": report}
        await self.world.put({**DEVICE, "metadata": meta, "spec": spec}, "update")

    async def put_model(self, namespace: str = "plant") -> None:
        meta = {"name": "thermometer", "namespace": namespace, "uid": f"model-{namespace}", "resourceVersion": "1"}
        await self.world.push("insert", f"{namespace}/devicemodel/thermometer", {**MODEL, "metadata": meta})

    @contextlib.asynccontextmanager
    async def mapper(self, what: str = "modbus", **settings: Any) -> AsyncIterator[None]:
        """A mapper at work, killed at the end."""
        given = mappers.Settings(self.world.socket, self.folder / "mapper.sock", http_port=self.http, **settings)
        async with _task(mappers.serve(mappers.load(what), given)):
            yield

    @contextlib.asynccontextmanager
    async def device(self) -> AsyncIterator[None]:
        """The Modbus server is there."""
        ready = asyncio.Event()
        async with _task(serve_tcp(self.thermometer, "127.0.0.1", self.port, ready=ready)):
            await ready.wait()
            yield

    def values(self, device: str = "plant/thermometer") -> dict[str, str]:
        """The newest reported values, as the cloud was told."""
        found: dict[str, str] = {}
        for report in self.world.reports():
            if isinstance(report, p.TwinReport) and f"{report.resource.namespace}/{report.resource.name}" == device:
                for name, twin in report.json()["twin"].items():
                    found[name] = (twin.get("actual") or {}).get("value", found.get(name, ""))
        return found

    def states(self) -> list[str]:
        """The states that the cloud was told."""
        return [
            report.json()["device"]["state"]
            for report in self.world.reports()
            if isinstance(report, p.DeviceStateReport)
        ]

    async def get(self, path: str) -> Any:
        """Ask the mapper's REST door."""
        url = f"http://127.0.0.1:{self.http}{path}"
        body = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())
        return msgspec.json.decode(body)


@contextlib.asynccontextmanager
async def _task(work: Any) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _run(main: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(45):
            await main()

    asyncio.run(bounded())


@pytest.mark.parametrize("what", ["modbus", str(EXAMPLES / "thermometer.py")])
def test_values_go_up_and_wishes_go_down(tmp_path: Path, what: str) -> None:
    async def main() -> None:
        site = Site(tmp_path)
        async with site.world.running(), site.device(), site.mapper(what):
            await site.put(setpoint="41.5")
            await site.put_model()
            await comes_true(lambda: site.thermometer.setpoint == 41.5)
            await comes_true(lambda: site.values().get("setpoint") == "41.5")
            await comes_true(lambda: float(site.values().get("temperature", "0")) > 40.0)
            await site.put(setpoint="30")
            await comes_true(lambda: site.thermometer.setpoint == 30.0)
            await comes_true(lambda: site.values()["setpoint"] == "30")
            answer = await site.get("/api/v1/device/plant/thermometer/setpoint")
            assert (answer["Data"]["Value"], answer["Data"]["Type"]) == ("30", "float")

    _run(main)


def test_methods_over_rest_on_kubeedges_paths(tmp_path: Path) -> None:
    async def main() -> None:
        site = Site(tmp_path)
        async with site.world.running(), site.device(), site.mapper():
            await site.put_model()
            await site.put(heater="true")
            await comes_true(lambda: "heater" in site.values())
            root = "/api/v1/devicemethod/plant/thermometer"
            methods = (await site.get(root))["Data"]["Methods"]
            assert methods[0]["Path"] == f"{root}/set/{{propertyName}}/{{data}}"
            await site.get(f"{root}/set/heater/false")
            await comes_true(lambda: site.values()["heater"] == "false")
            assert not site.thermometer.heater
            with pytest.raises(urllib.error.HTTPError, match="500"):
                await site.get(f"{root}/set/temperature/1")
            assert (await site.get("/api/v1/meta/model/plant/thermometer"))["properties"][0]["unit"] == "°C"

    _run(main)


def test_neighbours_are_read_in_one_request(tmp_path: Path) -> None:
    async def main() -> None:
        site = Site(tmp_path)
        async with site.world.running(), site.device(), site.mapper():
            await site.put_model()
            await site.put()
            await comes_true(lambda: len(site.values()) == 3)
            before, reports = site.thermometer.requests, len(site.world.reports())
            await asyncio.sleep(0.5)
            rounds = (site.thermometer.requests - before) / 2  # one for the coil, one for both registers
            assert rounds <= 12
            assert len(site.world.reports()) > reports

    _run(main)


def test_the_same_name_in_two_namespaces_is_two_devices(tmp_path: Path) -> None:
    async def main() -> None:
        site = Site(tmp_path)
        async with site.world.running(), site.device(), site.mapper():
            for namespace in ("plant", "office"):
                await site.put_model(namespace)
                await site.put(namespace=namespace)
            await comes_true(lambda: len(site.values("office/thermometer")) == 3)
            await comes_true(lambda: len(site.values("plant/thermometer")) == 3)

    _run(main)


def test_device_and_mapper_may_go_and_come_back_in_any_order(tmp_path: Path) -> None:
    async def main() -> None:
        site = Site(tmp_path)
        async with site.world.running():
            await site.put_model()
            await site.put(setpoint="33")
            async with site.mapper():
                async with site.device():
                    await comes_true(lambda: site.values().get("setpoint") == "33")
                    await comes_true(lambda: "online" in site.states())
                await comes_true(lambda: site.states()[-1] == "offline")
                site.thermometer.setpoint = 20.0
                async with site.device():
                    await comes_true(lambda: site.thermometer.setpoint == 33.0)
            async with site.device(), site.mapper():
                await site.put(setpoint="34")
                await comes_true(lambda: site.values()["setpoint"] == "34")

    _run(main)


def test_a_wish_that_will_not_do_says_why_in_the_cloud(tmp_path: Path) -> None:
    async def main() -> None:
        site = Site(tmp_path)

        def reason() -> str:
            twins = [r.json()["twin"] for r in site.world.reports() if isinstance(r, p.TwinReport)]
            found = [
                one["setpoint"]["actual"]["metadata"].get("reason", "")
                for one in twins
                if "actual" in one.get("setpoint", {})
            ]
            return found[-1] if found else ""

        async with site.world.running(), site.device(), site.mapper():
            await site.put_model()
            await site.put(setpoint="400")
            await comes_true(lambda: "over the maximum of 90" in reason())
            assert site.thermometer.setpoint == 40.0

    _run(main)


def test_a_serial_line_works_as_well(tmp_path: Path) -> None:
    async def main() -> None:
        import os
        import pty
        import tty

        def copy(source: int, target: int) -> None:
            with contextlib.suppress(
                BlockingIOError
            ):  # a line that nobody reads loses what is sent, as a real one does
                os.write(target, os.read(source, 4096))

        async def join(one: int, other: int) -> None:
            loop = asyncio.get_running_loop()
            for source, target in ((one, other), (other, one)):
                loop.add_reader(source, copy, source, target)
            await asyncio.Event().wait()

        ends = [pty.openpty() for _ in range(2)]
        for end in ends:
            tty.setraw(end[1])
            os.set_blocking(end[0], False)
        near, far = (os.ttyname(end[1]) for end in ends)
        site = Site(tmp_path)
        site.settings = {"communicateMode": "RTU", "serialPort": near, "slaveID": 1, "baudRate": 9600}
        ready = asyncio.Event()
        serving = serve_serial(site.thermometer, far, ready=ready)
        async with _task(join(ends[0][0], ends[1][0])), _task(serving), site.world.running():
            # A mapper that asks before anybody listens waits out its deadline, which may take all of the test's time.
            await ready.wait()
            async with site.mapper():
                await site.put_model()
                await site.put(setpoint="35")
                await comes_true(lambda: site.thermometer.setpoint == 35.0)
                await comes_true(lambda: site.values().get("setpoint") == "35")
        loop = asyncio.get_running_loop()
        for end in ends:
            loop.remove_reader(end[0])
            os.close(end[0])
            os.close(end[1])

    _run(main)


def test_a_mapper_that_its_author_saves_goes_on_with_what_it_holds_then(tmp_path: Path) -> None:
    async def main() -> None:
        site, file = Site(tmp_path), tmp_path / "mine.py"
        text = (EXAMPLES / "thermometer.py").read_text()
        file.write_text(text)
        async with site.world.running(), site.device(), site.mapper(str(file), file=file):
            await site.put_model()
            await site.put(setpoint="35")
            await comes_true(lambda: site.values().get("setpoint") == "35")
            file.write_text("class Nothing: it does not even parse")
            file.write_text(text.replace("return await device.holding(0) * 0.1", "return 12.5"))
            await comes_true(lambda: site.values().get("temperature") == "12.5")
            await site.put(setpoint="36")
            await comes_true(lambda: site.thermometer.setpoint == 36.0)

    _run(main)


def test_of_two_under_one_name_the_second_waits_and_then_takes_over(tmp_path: Path) -> None:
    async def main() -> None:
        site = Site(tmp_path)
        async with site.world.running(), site.device(), contextlib.AsyncExitStack() as second:
            async with site.mapper():
                await site.put_model()
                await site.put(setpoint="35")
                await comes_true(lambda: site.thermometer.setpoint == 35.0)
                socket = (tmp_path / "mapper.sock").stat().st_ino
                waits = tmp_path / "waits.py"
                waits.write_text((EXAMPLES / "thermometer.py").read_text().replace("* 0.1", "* 0 + 12.5"))
                await second.enter_async_context(site.mapper(str(waits)))
                await site.put(setpoint="36")
                await comes_true(lambda: site.thermometer.setpoint == 36.0)
                assert (tmp_path / "mapper.sock").stat().st_ino == socket
                assert site.values()["temperature"] != "12.5"
            await comes_true(lambda: site.values()["temperature"] == "12.5")
            await site.put(setpoint="37")
            await comes_true(lambda: site.thermometer.setpoint == 37.0)
            await comes_true(lambda: site.values()["setpoint"] == "37")
            while True:  # the door was the first one's, too
                with contextlib.suppress(OSError):
                    assert (await site.get("/api/v1/ping"))["statusCode"] == 200
                    return
                await asyncio.sleep(0.05)

    _run(main)
