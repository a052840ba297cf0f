"""What is done to get each figure; every scenario returns samples by the keys of `figures`.

They run one after the other on one installation, the machine otherwise idle. What leaves something behind, such as a
thousand devices, comes after what is measured without it.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from octoedge.commands.bench.askers import askers
from octoedge.commands.bench.controlplane import control_plane_alone
from octoedge.commands.bench.crowd import crowd, runtime_alone
from octoedge.commands.bench.devices import devices
from octoedge.commands.bench.faults import faults
from octoedge.commands.bench.figures import FIGURES
from octoedge.commands.bench.fleet import fleet
from octoedge.commands.bench.mappers import mappers
from octoedge.commands.bench.messages import messages
from octoedge.commands.bench.metaserver import default_modules, metaserver
from octoedge.commands.bench.modules import modules
from octoedge.commands.bench.process import cpu_seconds, memory, traffic
from octoedge.commands.bench.report import Samples
from octoedge.commands.bench.streaming import flat_out, streams
from octoedge.commands.bench.telemetry import telemetry
from octoedge.commands.bench.upserts import upserts
from octoedge.commands.bench.wholeway import whole_way
from octoedge.commands.bench.world import DEADLINE, PORT_OFFSET, World, is_ready, pod
from octoedge.edge.edged.cri.client import CriClient
from octoedge.errors import DeadlineError
from octoedge.keadm import cluster, configfiles
from octoedge.kube.kinds import CONFIGMAPS, NODES

Json = dict[str, Any]
RUNS = 5
IDLE_SECONDS = 60.0
DAY = 86_400.0
SETTLE_SECONDS = 10.0
POLL = 0.001
ANSWERS = 8090 + PORT_OFFSET
TOKENS = "/var/run/secrets/kubernetes.io/serviceaccount"
STREAMS = 4


async def memory_and_idle(world: World) -> Samples:
    """The agent after a warm restart, with no pod and with ten."""
    samples: Samples = {}
    await default_modules(world)
    cloud = (world.layout.ports.cloudhub, world.layout.ports.tunnel)
    for count in (0, 10):
        for number in range(count):
            await world.apply_pod(f"idle-{number}")
        world.stop("edgecore")
        await _restarted(world)
        await asyncio.sleep(SETTLE_SECONDS)
        pid = world.pid("edgecore")
        began, sent = cpu_seconds(pid), traffic(cloud)
        await asyncio.sleep(IDLE_SECONDS)
        samples[f"agent_cpu_{count}"] = [(cpu_seconds(pid) - began) * 60 / IDLE_SECONDS]
        if not count:
            samples["idle_traffic"] = [(traffic(cloud) - sent) * DAY / IDLE_SECONDS / 1e6]
        held = memory(pid)
        samples[f"agent_rss_{count}"] = [held.rss]
        samples[f"agent_private_{count}"] = [held.private]
    samples["apiserver_rss"] = [memory(world.pid("apiserver")).rss]
    samples["cloudcore_rss"] = [memory(world.pid("cloudcore")).rss]
    for number in range(10):
        await world.delete_pod(f"idle-{number}")
    return samples


async def restarts(world: World) -> Samples:
    """Restart → Ready: the first status that the new process sends, seen in the API."""
    return {"restart_ready": [await _restart(world) for _ in range(RUNS)]}


async def first_starts(world: World) -> Samples:
    """First start → Ready: no certificate, no database, no Node in the API."""
    return {"first_start_ready": [await _first_start(world) for _ in range(RUNS)]}


async def pods(world: World) -> Samples:
    """Apply → Ready, and the same without what the runtime takes for the same calls."""
    whole: list[float] = []
    own: list[float] = []
    for number in range(RUNS):
        whole.append(await world.apply_pod(f"fast-{number}"))
        await world.delete_pod(f"fast-{number}")
        # Next to each other: what the runtime takes goes up and down with the machine.
        own.append(max(0.0, whole[-1] - await runtime_alone(world, number)))
    return {"apply_ready": whole, "apply_ready_own": own}


async def configmaps(world: World) -> Samples:
    """ConfigMap change → in the edge's database, → seen in the file that is mounted into a running container."""
    await world.client.create(CONFIGMAPS, "default", _configmap("0"))
    volume = {"name": "page", "configMap": {"name": "bench"}}
    await world.apply_pod("reader", volumes=[volume], containers=[_with_mount(pod("reader"))])
    try:
        mounted = await asyncio.to_thread(_find_volume, world.layout.edge)
        stored = [await _stored(world, f"stored {number}") for number in range(RUNS)]
        quiet = [await _change(world, mounted, f"quiet {number}") for number in range(RUNS)]
        with await asyncio.to_thread(flat_out, world, "reader", STREAMS):
            await asyncio.sleep(1)
            busy = [await _change(world, mounted, f"busy {number}") for number in range(RUNS)]
        return {"configmap_stored": stored, "configmap_volume": quiet, "configmap_busy": busy}
    finally:
        await world.delete_pod("reader")
        await world.client.delete(CONFIGMAPS, "default", "bench")


async def offline_restarts(world: World) -> Samples:
    """No cloud, containers gone, edgecore starts: until a pod serves its service account token again."""
    command = ["/bin/busybox", "httpd", "-f", "-p", f"127.0.0.1:{ANSWERS}", "-h", TOKENS]
    await world.apply_pod("server", containers=[{**pod("server")["spec"]["containers"][0], "command": command}])
    await asyncio.to_thread(_until, _token_is_served)
    for name in ("cloudcore", "apiserver"):
        world.stop(name)
    try:
        return {"offline_restart": [await _offline_restart(world) for _ in range(3)]}
    finally:
        for name in ("apiserver", "cloudcore"):
            world.daemon(name).start()
        await asyncio.to_thread(_until, lambda: cluster.is_ready(world.layout.kubeconfig))
        await world.delete_pod("server")


async def _offline_restart(world: World) -> float:
    world.stop("edgecore")
    runtime = CriClient(str(world.layout.runtime_socket))
    try:
        for sandbox in await runtime.list_sandboxes({}):
            await runtime.stop_sandbox(sandbox.id)
            await runtime.remove_sandbox(sandbox.id)
    finally:
        await runtime.close()
    began = time.monotonic()
    world.daemon("edgecore").start()
    await asyncio.to_thread(_until, _token_is_served)
    return time.monotonic() - began


def _token_is_served() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{ANSWERS}/token", timeout=1) as answer:
            return len(answer.read()) > 100
    except OSError:
        return False


async def control_plane(world: World) -> Samples:
    """The embedded API server, started → ready."""
    samples: list[float] = []
    for _ in range(RUNS):
        world.stop("apiserver")
        began = time.monotonic()
        world.daemon("apiserver").start()
        await asyncio.to_thread(_until, lambda: cluster.is_ready(world.layout.kubeconfig))
        samples.append(time.monotonic() - began)
    return {"apiserver_start": samples}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing that is done; a failure of it costs the figures that it gives."""

    title: str
    gives: tuple[str, ...]
    """Patterns of keys of figures."""
    within: Callable[[World], Awaitable[Samples]] | None = None
    """What is done with an installation."""
    alone: Callable[[], Awaitable[Samples]] | None = None
    """What is done without one."""

    def figures(self) -> list[str]:
        """The figures that it gives."""
        return [figure.key for figure in FIGURES if any(fnmatchcase(figure.key, pattern) for pattern in self.gives)]


def scenarios(messages_wanted: int) -> tuple[Scenario, ...]:
    """All of them, those without an installation first."""
    counted = partial(messages, messages_wanted)
    return (
        Scenario("control plane alone", ("plane_*", "list_5000*", "fanout_*"), alone=control_plane_alone),
        Scenario("fleet of 1,000 nodes", ("fleet_*",), alone=fleet),
        Scenario("requests to the API", ("asked_*",), alone=askers),
        Scenario("messages under random kills", ("messages*",), alone=counted),
        Scenario("telemetry", ("telemetry_*",), alone=telemetry),
        Scenario("mappers", ("mapper_*",), alone=mappers),
        Scenario("upserts", ("upserts*",), alone=upserts),
        Scenario("restart → Ready", ("restart_ready",), restarts),
        Scenario("pods", ("apply_*",), pods),
        Scenario("ConfigMap → volume", ("configmap_*",), configmaps),
        Scenario("streams: logs, exec, port-forward", ("exec_*", "logs_*", "forward_*", "idle_stream"), streams),
        Scenario("memory and idle CPU", ("agent_*_0", "agent_*_10", "idle_traffic", "*core_rss", "apiserver_rss"),
                 memory_and_idle),
        Scenario("modules of the agent", ("modules_*",), modules),
        Scenario("MetaServer", ("metaserver_*",), metaserver),
        Scenario("offline restart", ("offline_restart",), offline_restarts),
        Scenario("100 pods", ("crowd_*", "agent_*_100"), crowd),
        Scenario("values, the whole way", ("way_*",), whole_way),
        Scenario("devices", ("devices_*", "mqtt_*", "dmi_rate", "cloud_rate", "wish_device"), devices),
        Scenario("network faults", ("fault_*",), faults),
        Scenario("first start → Ready", ("first_start_ready",), first_starts),
        Scenario("control plane start", ("apiserver_start",), control_plane),
    )  # fmt: skip


async def _restart(world: World) -> float:
    world.stop("edgecore")
    return await _restarted(world)


async def _restarted(world: World) -> float:
    """Start edgecore; seconds until a status that is newer than the start says Ready.

    The node need not have become NotReady in between, so what counts is that the new process has reported.
    """
    before = msgspec.json.decode(await world.client.get(NODES, "", world.layout.node))

    def reported(node: Json) -> bool:
        return is_ready(node) and _heartbeat(node) != _heartbeat(before)

    # Heartbeats have whole seconds; one that began in the same second could not be told from the old one.
    await asyncio.sleep(1.1)
    return await world.started_until("edgecore", NODES, "", world.layout.node, reported)


def _heartbeat(node: Json) -> str:
    conditions = node.get("status", {}).get("conditions") or []
    return next((str(seen.get("lastHeartbeatTime")) for seen in conditions if seen["type"] == "Ready"), "")


async def _first_start(world: World) -> float:
    world.stop("edgecore")
    _forget_edge(world.layout.edge)
    await world.client.delete(NODES, "", world.layout.node)
    await asyncio.to_thread(_write_edge_config, world)
    return await world.started_until("edgecore", NODES, "", world.layout.node, is_ready)


def _forget_edge(edge: Path) -> None:
    """Back to a node that has never joined: no certificates, no database."""
    for folder in ("pki", "metaserver"):
        shutil.rmtree(edge / folder, ignore_errors=True)
    for file in edge.glob("edgecore.db*"):
        file.unlink()


def _write_edge_config(world: World) -> None:
    """The configuration with a fresh token: a used one was blanked."""
    token = cluster.join_token(world.layout.apiserver_data / "admin.kubeconfig")
    world.layout.edgecore_file.write_text(configfiles.edgecore(world.layout, token))


def _configmap(text: str) -> bytes:
    metadata = {"name": "bench", "namespace": "default"}
    return msgspec.json.encode({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"page": text}})


def _with_mount(of: Json) -> Json:
    return {**of["spec"]["containers"][0], "volumeMounts": [{"name": "page", "mountPath": "/page"}]}


def _find_volume(edge: Path) -> Path:
    """The file on the host that the container sees."""
    return next(edge.glob("kubelet/pods/*/volumes/kubernetes.io~configmap/page/page"))


async def _change(world: World, mounted: Path, text: str) -> float:
    return await _seen(world, text, lambda: mounted.read_text() == text)


async def _stored(world: World, text: str) -> float:
    file = f"file:{world.layout.edge / 'edgecore.db'}?mode=ro"
    query = "SELECT json_extract(value, '$.data.page') FROM meta WHERE key = 'default/configmap/bench'"
    with closing(sqlite3.connect(file, uri=True, check_same_thread=False, timeout=DEADLINE)) as connection:
        return await _seen(world, text, lambda: connection.execute(query).fetchone() == (text,))


async def _seen(world: World, text: str, holds: Callable[[], bool]) -> float:
    began = time.monotonic()
    await world.client.patch(CONFIGMAPS, "default", "bench", msgspec.json.encode({"data": {"page": text}}))
    await asyncio.to_thread(_until, holds)
    return time.monotonic() - began


def _until(holds: Callable[[], bool]) -> None:
    """Look again and again, as often as the figure needs."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        if time.monotonic() > deadline:
            raise DeadlineError(f"nothing was seen in {DEADLINE:.0f} s")
        time.sleep(POLL)
