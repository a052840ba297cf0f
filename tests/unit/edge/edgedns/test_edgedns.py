"""The module: what it follows, and what it answers from then on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator

from octoedge.edge.edgedns import wire
from octoedge.edge.edgedns.edgedns import PATIENCE, EdgeDns, Settings
from octoedge.edge.edgedns.wire import Code, text_name
from octoedge.edge.ports import Told
from octoedge.testing.clock import run
from octoedge.testing.eventually import comes_true

from .test_answer import alias, endpoint, part
from .world import DOMAIN, HOST, ask_udp, free_port


class Shelf:
    """Implements `ports.Copies`: what a test puts there."""

    def __init__(self) -> None:
        self.slices: asyncio.Queue[Told] = asyncio.Queue()
        self.services: asyncio.Queue[Told] = asyncio.Queue()
        self.asked: list[tuple[str, str, str]] = []
        self.ages: dict[str, float] = {}

    async def follow(
        self, group: str, version: str, plural: str, *, namespace: str = "", labels: str = "", fields: str = ""
    ) -> AsyncGenerator[Told, None]:
        self.asked.append((plural, labels, fields))
        queue = self.slices if plural == "endpointslices" else self.services
        while True:
            yield await queue.get()

    def age(self, group: str, version: str, plural: str, *, labels: str = "", fields: str = "") -> float | None:
        return self.ages.get(plural)


def code(names: EdgeDns, name: str) -> int:
    answer = names.server.at_once(wire.ask(1, text_name(f"{name}.shop.svc.cluster.local"), wire.CNAME))
    assert isinstance(answer, bytes)
    return wire.code_of(answer)


async def begun(shelf: Shelf, group: asyncio.TaskGroup) -> tuple[EdgeDns, asyncio.Task[None]]:
    names, ready = EdgeDns(Settings(()), shelf, ("metaServer",)), asyncio.Event()
    task = group.create_task(names.run(ready.set))
    await ready.wait()
    return names, task


def test_what_it_is_told_is_what_it_answers() -> None:
    async def main() -> None:
        shelf = Shelf()
        async with asyncio.TaskGroup() as group:
            names, task = await begun(shelf, group)
            assert code(names, "web") == Code.FAILED
            assert names.health() == {"listen": [], "services": 0, "known": False, "age": None, "trouble": ""}
            shelf.slices.put_nowait(Told(True, [part("web", endpoint("10.0.0.1"))]))
            shelf.services.put_nowait(Told(True, [alias("bank", "bank.example.com")]))
            await asyncio.sleep(1)
            assert (code(names, "web"), code(names, "bank"), code(names, "db")) == (0, 0, Code.NO_NAME)
            shelf.slices.put_nowait(Told(False, [part("db", endpoint("10.0.0.2"))], [("shop", "web-1")]))
            shelf.services.put_nowait(Told(False, [alias("mint", "mint.example.com")], [("shop", "bank")]))
            await asyncio.sleep(1)
            assert (code(names, "web"), code(names, "bank")) == (Code.NO_NAME, Code.NO_NAME)
            assert (code(names, "db"), code(names, "mint")) == (0, 0)
            assert (names.health()["services"], names.health()["age"]) == (2, None)
            shelf.ages = {"endpointslices": 0.0, "services": 61.4}
            assert names.health()["age"] == 61, "of the older"
            assert sorted(shelf.asked) == [
                ("endpointslices", "service.kubernetes.io/headless", ""),
                ("services", "", "spec.type=ExternalName"),
            ]
            task.cancel()

    run(main())


def test_a_cloud_that_never_tells_does_not_keep_pods_from_the_world() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            names, task = await begun(Shelf(), group)
            assert code(names, "example.com") == Code.FAILED
            await asyncio.sleep(PATIENCE + 1)
            assert code(names, "example.com") == Code.NO_NAME
            task.cancel()

    run(main())


def test_a_port_that_somebody_has_is_said_and_tried_again() -> None:
    async def main() -> None:
        port = free_port()
        names, ready = EdgeDns(Settings([(HOST, port)]), Shelf(), ()), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as somebody:
                somebody.bind((HOST, port))
                task = group.create_task(names.run(ready.set))
                await ready.wait()
                await comes_true(lambda: f"cannot listen on {HOST}:{port}" in str(names.health()["trouble"]))
            await comes_true(lambda: not names.health()["trouble"])
            assert wire.code_of(await ask_udp(port, wire.ask(1, DOMAIN, wire.SOA))) == Code.OK
            task.cancel()

    asyncio.run(main())
