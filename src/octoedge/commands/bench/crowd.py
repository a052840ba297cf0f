"""A hundred pods on one node: how long until they run, what they cost at rest, how long a restart takes.

Each is one small container on the host's network, of an image that is there: what is measured is us, not the network.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from octoedge.api.core import Pod, view
from octoedge.commands.bench.process import cpu_seconds, memory
from octoedge.commands.bench.report import Samples
from octoedge.commands.bench.world import World, is_ready, pod
from octoedge.edge.edged import compose
from octoedge.edge.edged.cgroups import Cgroups
from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.cri.client import CriClient
from octoedge.edge.edged.machine import memory as machine_memory
from octoedge.errors import DeadlineError
from octoedge.kube.kinds import PODS

COUNT = 100
DEADLINE = 300.0
REPORTED_SECONDS, SETTLE_SECONDS, IDLE_SECONDS = 5.0, 20.0, 60.0
AT_ONCE = 8
"""As many starts as edged asks of a runtime at once."""


async def crowd(world: World) -> Samples:
    """A hundred pods: one after the other, all at once, at rest, over a restart."""
    samples: Samples = {}
    samples["crowd_apply"] = [await _ready(world, at_once=False)]
    samples["crowd_gone"] = [await _gone(world)]
    alone = await _runtime_alone_at_once(world)
    samples["crowd_at_once"] = [await _ready(world, at_once=True)]
    samples["crowd_own"] = [max(0.0, samples["crowd_at_once"][0] - alone) * 1000 / COUNT]
    await asyncio.sleep(REPORTED_SECONDS)
    samples["crowd_restart"] = [await _restart(world)]
    await asyncio.sleep(SETTLE_SECONDS)
    pid = world.pid("edgecore")
    began = cpu_seconds(pid)
    await asyncio.sleep(IDLE_SECONDS)
    samples["agent_cpu_100"] = [(cpu_seconds(pid) - began) * 100 / IDLE_SECONDS]
    held = memory(pid)
    samples["agent_rss_100"], samples["agent_private_100"] = [held.rss], [held.private]
    await _gone(world)
    return samples


def _names() -> list[str]:
    return [f"crowd-{number}" for number in range(COUNT)]


async def _ready(world: World, *, at_once: bool) -> float:
    """Seconds from the first pod's creation until the API says that all are Ready."""
    version = (await world.client.list(PODS, "default")).version
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        all_ready = group.create_task(_until_ready(world, version), name="until ready")
        for name in _names():
            create = world.client.create(PODS, "default", msgspec.json.encode(pod(name)))
            if at_once:
                group.create_task(_made(create), name=name)
            else:
                await create
        await all_ready
    return time.monotonic() - began


async def _until_ready(world: World, version: str) -> None:
    missing = set(_names())
    try:
        async with asyncio.timeout(DEADLINE):
            async for event in world.client.watch(PODS, "default", version=version):
                seen = msgspec.json.decode(event.object)
                if event.type != "BOOKMARK" and is_ready(seen):
                    missing.discard(seen["metadata"]["name"])
                if not missing:
                    return
    except TimeoutError:
        raise DeadlineError(f"{len(missing)} of {COUNT} pods are not Ready after {DEADLINE:.0f} s") from None


async def _made(create: Awaitable[bytes]) -> None:
    await create


async def _gone(world: World) -> float:
    """Delete them all at once; seconds until the API has none of them."""
    began = time.monotonic()
    await asyncio.gather(*(world.delete_pod(name) for name in _names()))
    return time.monotonic() - began


async def _restart(world: World) -> float:
    """edgecore starts among its hundred pods: seconds until it has done what came meanwhile, one pod's deletion."""
    world.stop("edgecore")
    name = _names()[-1]
    await world.client.delete(PODS, "default", name, b'{"gracePeriodSeconds":1}')
    return await world.started_until("edgecore", PODS, "default", name, lambda seen: not seen)


async def _runtime_alone_at_once(world: World) -> float:
    """What the runtime takes for a hundred such pods, asked directly, as many at once as edged asks."""
    slots = asyncio.Semaphore(AT_ONCE)
    runtime = CriClient(str(world.layout.runtime_socket))

    async def begin(number: int) -> _Made:
        async with slots:
            return await _begin(runtime, world, number)

    try:
        began = time.monotonic()
        made = await asyncio.gather(*(begin(number) for number in range(COUNT)))
        took = time.monotonic() - began
        for one in made:
            await _end(runtime, one)
        return took
    finally:
        await runtime.close()


async def runtime_alone(world: World, number: int) -> float:
    """What containerd takes for the sandbox and the container of such a pod, asked directly."""
    runtime = CriClient(str(world.layout.runtime_socket))
    try:
        began = time.monotonic()
        made = await _begin(runtime, world, number)
        took = time.monotonic() - began
        await _end(runtime, made)
        return took
    finally:
        await runtime.close()


@dataclass(frozen=True, slots=True)
class _Made:
    """What is to be taken away again."""

    sandbox: str
    container: str
    cgroup: str


async def _begin(runtime: CriClient, world: World, number: int) -> _Made:
    """A sandbox and a running container in it."""
    sandbox, container = _asked(world, number)
    sandbox_id = await runtime.run_sandbox(sandbox)
    container_id = await runtime.create_container(sandbox_id, container, sandbox)
    await runtime.start_container(container_id)
    return _Made(sandbox_id, container_id, sandbox.linux.cgroup_parent if sandbox.linux is not None else "")


async def _end(runtime: CriClient, made: _Made) -> None:
    await runtime.stop_container(made.container, 0)
    await runtime.stop_sandbox(made.sandbox)
    await runtime.remove_sandbox(made.sandbox)
    await Cgroups().remove(made.cgroup)


def _asked(world: World, number: int) -> tuple[f.SandboxConfig, f.ContainerConfig]:
    """What edged asks for such a pod, by its own words: a sandbox's seccomp filter alone costs the runtime 10 ms."""
    logs = world.layout.logs / "pods" / "bench"
    logs.mkdir(parents=True, exist_ok=True)
    made = pod(f"bench-{number}")
    made["metadata"] = {"name": f"bench-{number}", "uid": f"bench-{number}", "namespace": "bench"}
    wanted = view(Pod, msgspec.json.encode(made))
    spec = wanted.spec.containers[0]
    # Of a node of another name: edgecore takes down what it finds of its own and was not told to run.
    place = compose.Place("bench", world.layout.cgroup_root, False, machine_memory()[0], False)
    parts = compose.ContainerParts(0, spec.image, {}, tuple(_mounts(logs)), "main.log")
    return compose.sandbox(wanted, 0, place, str(logs), None), compose.container(wanted, spec, parts, place)


def _mounts(folder: Path) -> Iterator[f.Mount]:
    """As many as any pod has: its hosts file, its last words, its service account."""
    for name in ("/etc/hosts", "/dev/termination-log", "/var/run/secrets/kubernetes.io/serviceaccount"):
        source = folder / name.strip("/").replace("/", "-")
        source.mkdir(parents=True, exist_ok=True) if "secrets" in name else source.touch()
        yield f.Mount(container_path=name, host_path=str(source))
