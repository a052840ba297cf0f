"""MetaServer: what it adds to the agent, and how fast the node's own Kubernetes API answers.

    root of the machine ──TLS──► MetaServer ──► CloudCore ──► API        Services, which a node may read

KubeEdge has it off by default, and so is it where the agent's memory is measured (`default_modules`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import yaml

from octoedge.commands.bench.process import memory
from octoedge.commands.bench.report import Samples
from octoedge.commands.bench.world import DEADLINE, World
from octoedge.errors import DeadlineError
from octoedge.kube.kinds import Kind

Json = dict[str, Any]
WATCHES, MANY, AT_ONCE = 50, 1000, 200
LATENCIES, EVENTS, WRITERS = 200, 1000, 16
SETTLE, TRIMMED = 10.0, 25.0
SERVICES = Kind("services", "Service")
PATH = "/api/v1/namespaces/default/services"


async def default_modules(world: World, *, metaserver: bool = False) -> None:
    """Restart the agent with the modules that KubeEdge has on, and with MetaServer if asked for."""
    file = world.layout.edgecore_file
    tree: Json = yaml.safe_load(await asyncio.to_thread(file.read_text))
    tree["modules"]["metaManager"]["metaServer"]["enable"] = metaserver
    tree.setdefault("octoedge", {})["edgeDNS"] = {"enable": False}
    await asyncio.to_thread(file.write_text, yaml.safe_dump(tree, sort_keys=False))
    await asyncio.to_thread(world.stop, "edgecore")
    await asyncio.to_thread(world.daemon("edgecore").start)


async def metaserver(world: World) -> Samples:
    """Off, on, with watches of different things; then latencies, changes, and a crowd that comes and goes."""
    await default_modules(world)
    without = await _held(world)
    await default_modules(world, metaserver=True)
    door = _Door(world)
    await door.answers()
    idle = await _held(world)
    samples: Samples = {"metaserver_idle": [max(0.0, idle - without)]}
    async with contextlib.AsyncExitStack() as stack:
        for number in range(WATCHES):
            await stack.enter_async_context(door.watch(f"{PATH}?watch=true&labelSelector=app%3Da{number}"))
        samples["metaserver_watches"] = [max(0.0, await _held(world) - without)]
    samples["metaserver_get"] = await _latencies(door, f"{PATH}/kubernetes")
    samples["metaserver_list"] = await _latencies(door, PATH)
    samples["metaserver_events"] = [await _events(world, door)]
    before = await _held(world)
    for key in ("metaserver_after", "metaserver_again"):
        await _crowd(door)
        await asyncio.sleep(TRIMMED - SETTLE)
        now = await _held(world)
        samples[key], before = [max(0.0, now - before)], now
    await default_modules(world)
    return samples


async def _held(world: World) -> float:
    await asyncio.sleep(SETTLE)
    return memory(world.pid("edgecore")).private


async def _latencies(door: _Door, path: str) -> list[float]:
    """Milliseconds of one request after the other on one connection."""
    found = []
    async with door.connected() as (reader, writer):
        for _ in range(LATENCIES):
            began = time.monotonic()
            writer.write(door.request(path))
            await _body(reader)
            found.append(1000 * (time.monotonic() - began))
    return found


async def _events(world: World, door: _Door) -> float:
    """Changes a second that a watch on the node brings while one object changes as fast as it can."""
    spec = {"ports": [{"port": 80}]}
    obj = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "bench"}, "spec": spec}
    await world.client.create(SERVICES, "default", msgspec.json.encode(obj))
    numbers = iter(range(EVENTS))

    async def write() -> None:
        for number in numbers:
            change = {"metadata": {"annotations": {"number": str(number)}}}
            await world.client.patch(SERVICES, "default", "bench", msgspec.json.encode(change))

    try:
        async with (
            door.watch(f"{PATH}?watch=true&fieldSelector=metadata.name%3Dbench") as reader,
            asyncio.TaskGroup() as group,
        ):
            began = time.monotonic()
            for _ in range(WRITERS):
                group.create_task(write())
            async with asyncio.timeout(DEADLINE):
                seen = 0
                while seen < EVENTS:
                    seen += (await reader.readline()).count(b'"MODIFIED"')
            return EVENTS / (time.monotonic() - began)
    finally:
        await world.client.delete(SERVICES, "default", "bench")


async def _crowd(door: _Door) -> None:
    """A thousand watches, opened and dropped."""
    for _ in range(MANY // AT_ONCE):
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(AT_ONCE):
                await stack.enter_async_context(door.watch(f"{PATH}?watch=true"))


class _Door:
    """A client with the node's certificate."""

    def __init__(self, world: World) -> None:
        edge, self._port = world.layout.edge, world.layout.ports.metaserver
        self._ca, self._certificate, self._key = (
            edge / "metaserver/ca.crt", edge / "pki/server.crt", edge / "pki/server.key",
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter], None]:
        """A connection of its own."""
        tls = ssl.create_default_context(cafile=str(self._ca))
        tls.load_cert_chain(self._certificate, self._key)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=tls)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    @contextlib.asynccontextmanager
    async def watch(self, path: str) -> AsyncGenerator[asyncio.StreamReader, None]:
        """A watch that has begun."""
        async with self.connected() as (reader, writer):
            writer.write(self.request(path))
            async with asyncio.timeout(DEADLINE):
                status = await reader.readline()
            if b" 200 " not in status:
                raise DeadlineError(f"{path} was answered with {status.decode(errors='replace')}")
            yield reader

    @staticmethod
    def request(path: str) -> bytes:
        """A GET."""
        return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\r\n".encode()

    async def answers(self) -> None:
        """Return when it is asked with success."""
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until:
            with contextlib.suppress(OSError, DeadlineError, TimeoutError):
                async with self.watch(PATH):
                    return
            await asyncio.sleep(0.2)
        raise DeadlineError("MetaServer does not answer")


async def _body(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(DEADLINE):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b" 200 " not in head.split(b"\r\n", 1)[0] or b"content-length:" not in head:
            raise DeadlineError(f"MetaServer answered {head[:200].decode(errors='replace')}")
        return await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
