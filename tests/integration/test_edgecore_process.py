"""The edgecore program as a process: it joins a real CloudCore over real sockets, is killed, stopped, and misled.

There is no container runtime; the node says so, and everything else works.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from octoedge.api.config.cloudcore import CloudCoreConfig
from octoedge.api.config.load import default_cloudcore
from octoedge.cloud.cloudcore import CloudCore
from octoedge.pki import token as tokens
from octoedge.runtime.clock import SystemClock
from octoedge.testing.kube import MemoryApi
from octoedge.testing.names import NameServer

CONFIG = """# a comment that stays
database: {{dataSource: "{home}/edgecore.db"}}
modules:
  edged:
    hostnameOverride: edge-1
    rootDirectory: "{home}/kubelet"
    tailoredKubeletConfig: {{containerRuntimeEndpoint: "unix://{home}/nobody.sock", podLogsDir: "{home}/logs"}}
  edgeHub:
    token: {token}  # given by the cloud
    httpServer: https://127.0.0.1:{https}
    tlsCaFile: "{home}/pki/ca.crt"
    tlsCertFile: "{home}/pki/node.crt"
    tlsPrivateKeyFile: "{home}/pki/node.key"
    websocket: {{server: "127.0.0.1:{wss}"}}
  eventBus: {{enable: false}}
  deviceTwin: {{enable: false}}
octoedge: {{logLevel: info}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass
class World:
    """A cloud that may come and go, and one node's home."""

    folder: Path
    api: MemoryApi = field(default_factory=MemoryApi)
    wss: int = field(default_factory=free_port)
    https: int = field(default_factory=free_port)

    @property
    def home(self) -> Path:
        return self.folder / "edge"

    @property
    def config_file(self) -> Path:
        return self.home / "edgecore.yaml"

    def configure(self, token: str) -> None:
        self.home.mkdir(exist_ok=True)
        text = CONFIG.format(home=self.home, token=token or '""', https=self.https, wss=self.wss)
        self.config_file.write_text(text)

    @contextlib.asynccontextmanager
    async def cloud(self) -> AsyncIterator[CloudCore]:
        core = CloudCore(self._cloud_config(), self.api.client(), SystemClock())
        async with asyncio.TaskGroup() as group:
            running = group.create_task(core.run())
            async with asyncio.timeout(10):
                await core.ready()
            try:
                yield core
            finally:
                core.stop()
                await running

    def _cloud_config(self) -> CloudCoreConfig:
        config = default_cloudcore()
        hub = config.modules.cloud_hub
        hub = replace(
            hub,
            websocket=replace(hub.websocket, address="127.0.0.1", port=self.wss),
            https=replace(hub.https, address="127.0.0.1", port=self.https),
            tls_ca_file=str(self.folder / "ca.crt"),
            tls_ca_key_file=str(self.folder / "ca.key"),
            tls_cert_file=str(self.folder / "server.crt"),
            tls_private_key_file=str(self.folder / "server.key"),
        )
        monitor = replace(config.common_config.monitor_server, bind_address="127.0.0.1:0")
        return replace(
            config,
            modules=replace(config.modules, cloud_hub=hub),
            common_config=replace(config.common_config, monitor_server=monitor),
        )

    def command(self) -> list[str]:
        """What is started as the edge."""
        return [sys.executable, "-m", "octoedge.commands.edgecore", "--config", str(self.config_file)]

    def mint(self, core: CloudCore, seconds: int = 3600) -> str:
        return core.authority.mint(expires=int(time.time()) + seconds)

    @contextlib.asynccontextmanager
    async def edge(self) -> AsyncIterator[Edge]:
        log = (self.folder / "edgecore.log").open("ab")
        process = await asyncio.create_subprocess_exec(
            *self.command(),
            stdout=log,
            stderr=log,
        )
        log.close()
        try:
            yield Edge(self, process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@dataclass
class Edge:
    """A running edgecore."""

    world: World
    process: asyncio.subprocess.Process

    async def status(self) -> dict[str, Any]:
        reader, writer = await asyncio.open_unix_connection(self.world.home / "edgecore.sock")
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def until(self, so: Callable[[dict[str, Any]], object], seconds: float = 15.0) -> dict[str, Any]:
        """Its status as soon as `so` likes it."""
        status: dict[str, Any] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    with contextlib.suppress(OSError, ValueError):
                        status = await self.status()
                        if so(status):
                            return status
                    await asyncio.sleep(0.02)
        raise AssertionError(f"not so in {seconds} s: {status}\n{self.log()}")

    async def end(self, seconds: float = 15.0) -> int:
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    def log(self) -> str:
        return (self.world.folder / "edgecore.log").read_text()


def play(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def online(status: dict[str, Any]) -> bool:
    return bool(status["connected"])


def test_it_joins_says_how_it_is_and_stops_in_good_order(tmp_path: Path) -> None:
    async def test() -> None:
        world = World(tmp_path)
        async with world.cloud() as core:
            token = world.mint(core)
            world.configure(token)
            async with world.edge() as edge:
                status = await edge.until(online)
                assert (status["node"], status["hub"], status["trouble"]) == ("edge-1", "connected", "")
                assert "nobody.sock" in status["runtime"]
                text = world.config_file.read_text()
                assert token not in text
                assert 'token: ""  # given by the cloud' in text
                assert text.startswith("# a comment that stays")
                assert (world.home / "edgecore.sock").stat().st_mode & 0o777 == 0o600
                assert (world.home / "edgecore.db").stat().st_mode & 0o777 == 0o600
                assert not _forbidden(edge.process.pid)
                edge.process.send_signal(signal.SIGTERM)
                assert await edge.end(5) == 0
                assert "disconnected from the cloud" in edge.log()
                assert "Traceback" not in edge.log()
                assert not (world.home / "edgecore.sock").exists()

    play(test)


def _forbidden(pid: int) -> list[str]:
    """Libraries that must never be mapped into the agent."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return [name for name in ("cryptography", "aiohttp", "uvloop", "_yaml") if name in maps]


def test_killed_and_started_again_it_is_back_within_a_second_or_two(tmp_path: Path) -> None:
    async def test() -> None:
        world = World(tmp_path)
        async with world.cloud() as core:
            world.configure(world.mint(core))
            async with world.edge() as edge:
                before = await edge.until(online)
                edge.process.kill()
                await edge.end()
            began = time.monotonic()
            async with world.edge() as edge:
                after = await edge.until(online)
                assert time.monotonic() - began < 12  # 0.2 s on a quiet machine
                assert after["store"] == before["store"]

    play(test)


def test_a_restarted_cloud_has_its_node_back(tmp_path: Path) -> None:
    async def test() -> None:
        world = World(tmp_path)
        async with world.cloud() as core:
            world.configure(world.mint(core))
            async with world.edge() as edge:
                await edge.until(online)

        async with world.edge() as edge:
            await edge.until(lambda status: "is CloudCore running" in status["trouble"])
            async with world.cloud() as core:
                began = time.monotonic()
                await edge.until(online)
                assert time.monotonic() - began < 12
            await edge.until(lambda status: not status["connected"])
            async with world.cloud():
                await edge.until(online)

    play(test)


@pytest.mark.parametrize(
    ("make_token", "words"),
    [
        (lambda world, core: "", "no join token"),
        (lambda world, core: "abc", "not of the form"),
        (lambda world, core: world.mint(core, -5), "expired"),
        (lambda world, core: tokens.mint(b"another ca", b"key", expires=int(time.time()) + 60), "another cloud"),
    ],
)
def test_a_new_node_with_a_bad_token_ends_with_a_sentence(
    tmp_path: Path, make_token: Callable[[World, CloudCore], str], words: str
) -> None:
    async def test() -> None:
        world = World(tmp_path)
        async with world.cloud() as core:
            world.configure(make_token(world, core))
            async with world.edge() as edge:
                assert await edge.end() == 78
                last = edge.log().strip().splitlines()[-1]
                assert last.startswith("edgecore: ")
                assert words in last
                assert not (world.home / "pki" / "node.crt").exists()

    play(test)


def test_a_node_with_pods_lives_on_whatever_the_cloud_thinks_of_its_token(tmp_path: Path) -> None:
    async def test() -> None:
        world = World(tmp_path)
        world.configure("abc")
        async with world.edge() as edge:
            await edge.end()
        with sqlite3.connect(world.home / "edgecore.db") as connection:
            pod = {"metadata": {"name": "web", "namespace": "default", "uid": "u"}, "spec": {"nodeName": "edge-1"}}
            connection.execute("INSERT INTO meta VALUES ('default/pod/web', 'pod', ?)", (json.dumps(pod),))
        connection.close()
        async with world.edge() as edge:
            status = await edge.until(lambda status: status["trouble"])
            assert "not of the form" in status["trouble"]
            await asyncio.sleep(0.5)
            assert edge.process.returncode is None

    play(test)


def test_a_wrong_configuration_is_named(tmp_path: Path) -> None:
    async def test() -> None:
        world = World(tmp_path)
        world.configure("")
        world.config_file.write_text(world.config_file.read_text().replace("heartbeat", "") + "\nmoduls: {}\n")
        async with world.edge() as edge:
            assert await edge.end() == 78
            assert "moduls" in edge.log()
            assert "Traceback" not in edge.log()

    play(test)


NAME = "cloud.octoedge.test"
SERVER = f"127.{os.getpid() % 200 + 20}.53.1"
"""A name server of this test process alone, known to its edges only: they have a mount namespace."""


def _namespaces() -> bool:
    return (
        os.geteuid() == 0
        and bool(shutil.which("unshare"))
        and subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0
    )


class Named(World):
    """A cloud that edges know by name."""

    def configure(self, token: str) -> None:
        super().configure(token)
        text = self.config_file.read_text()
        for before in ("https://127.0.0.1", '"127.0.0.1'):
            text = text.replace(before, before.replace("127.0.0.1", NAME))
        self.config_file.write_text(text)

    def _cloud_config(self) -> CloudCoreConfig:
        config = super()._cloud_config()
        hub = replace(config.modules.cloud_hub, dns_names=(NAME,))
        return replace(config, modules=replace(config.modules, cloud_hub=hub))

    def command(self) -> list[str]:
        resolver = self.folder / "resolv.conf"
        resolver.write_text(f"nameserver {SERVER}\n")
        script = f'mount --bind "{resolver}" /etc/resolv.conf && exec "$@"'
        return ["unshare", "-m", "sh", "-c", script, "sh", *super().command()]


@pytest.mark.skipif(not _namespaces(), reason="needs root and mount namespaces")
def test_a_node_boots_while_no_name_server_answers_and_is_back_soon_after_one_does(tmp_path: Path) -> None:
    async def test() -> None:
        world = Named(tmp_path)
        endpoint = asyncio.get_running_loop().create_datagram_endpoint(
            lambda: NameServer(NAME), local_addr=(SERVER, 53)
        )
        transport, names = await endpoint
        try:
            async with world.cloud() as core:
                world.configure(world.mint(core))
                async with world.edge() as edge:
                    before = await edge.until(online)
                names.silent = True
                async with world.edge() as edge:
                    names.asked.clear()
                    await _boots_alone(edge, names, str(before["store"]))
                    names.silent = False
                    began = time.monotonic()
                    await edge.until(online, 30)
                    assert time.monotonic() - began < 25  # at most 3 s between two questions on a quiet machine
                    names.silent = True
                async with world.edge() as edge:
                    await edge.until(lambda status: status["hub"])
                    edge.process.terminate()
                    assert await edge.end(10) == 0, "what hangs in the resolver does not hold up the end"
        finally:
            transport.close()

    play(test)


async def _boots_alone(edge: Edge, names: NameServer, store: str) -> None:
    """It says what is wrong, and its own door answers while the resolver hangs."""
    async with asyncio.timeout(30):
        await names.asked.wait()
    status = await edge.until(lambda status: status["hub"] == "connecting")
    assert (status["connected"], status["store"]) == (False, store)
    for _ in range(20):
        began = time.monotonic()
        await edge.status()
        assert time.monotonic() - began < 5
    await edge.until(lambda status: NAME in status["trouble"], 60)
    assert edge.process.returncode is None
