"""The embedded control plane: memory by size, requests a second, a large list, many watchers, start with much to load.

Every change is on disk before it is answered, in these figures too. Pods are of the size that an edge site has, and
are bound already: the scheduler is no part of these figures.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import uvloop

from octoedge.commands.bench import fanout
from octoedge.commands.bench.plane import Plane, plane
from octoedge.commands.bench.process import memory
from octoedge.commands.bench.report import Samples
from octoedge.commands.bench.world import DEADLINE
from octoedge.kube.client import Client
from octoedge.kube.kinds import PODS

Json = dict[str, Any]
WRITERS = 16
FEW, LISTED, MANY = 1_000, 5_000, 10_000
REQUESTS = 1_000
WATCHERS = 500
EVENTS = 100
SINGLE = 20
LISTS = 5
SETTLE = 2.0


async def control_plane_alone() -> Samples:
    """The figures of one API server; asked on the fastest loop there is, so that they are the server's."""
    return await asyncio.to_thread(lambda: uvloop.run(_measured()))


async def _measured() -> Samples:
    """Filled step by step; the order is that of its growth."""
    samples: Samples = {}
    async with plane() as at:
        await asyncio.sleep(SETTLE)
        samples["plane_rss_0"] = [memory(at.pid).rss]
        async with _clients(at) as clients:
            samples["plane_create"] = [await _rate(clients, range(FEW), _create)]
            samples["plane_rss_1000"] = [memory(at.pid).rss]
            samples["plane_get"] = [await _rate(clients, range(REQUESTS), _get)]
            samples["plane_patch"] = [await _rate(clients, range(REQUESTS), _patch)]
            samples["plane_list"] = [await _rate(clients, range(200), _list_few)]
            samples |= await _fan_out(at, clients)
            await _rate(clients, range(FEW, LISTED), _create)
            samples |= await asyncio.to_thread(_large_list, at)
            await _rate(clients, range(LISTED, MANY), _create)
        samples["plane_rss_10000"] = [memory(at.pid).rss]
        at.stop()
        samples["plane_start_10000"] = [await asyncio.to_thread(at.start)]
    return samples


@asynccontextmanager
async def _clients(at: Plane) -> AsyncIterator[list[Client]]:
    """As many clients as there are writers, each with connections of its own."""
    clients = [Client(at.access) for _ in range(WRITERS)]
    try:
        yield clients
    finally:
        for client in clients:
            await client.close()


async def _rate(
    clients: list[Client], numbers: Iterable[int], ask: Callable[[Client, int], Awaitable[object]]
) -> float:
    """Requests a second of all clients together."""
    left = iter(numbers)
    done = 0

    async def work(client: Client) -> None:
        nonlocal done
        for number in left:
            await ask(client, number)
            done += 1

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(work(client), name="requests")
    return done / (time.monotonic() - began)


async def _create(client: Client, number: int) -> None:
    await client.create(PODS, "default", msgspec.json.encode(bound_pod(number)))


async def _get(client: Client, number: int) -> None:
    await client.get(PODS, "default", _name(number % FEW))


async def _patch(client: Client, number: int) -> None:
    await client.patch(PODS, "default", _name(number % FEW), _status(number), sub="status")


async def _list_few(client: Client, number: int) -> None:
    await client.list(PODS, "default", fields=f"spec.nodeName=node-{number % 20}")


async def _fan_out(at: Plane, clients: list[Client]) -> Samples:
    """One event to many watchers: how long until each has it, and how many a second arrive when there are many."""
    version = (await clients[0].list(PODS, "default")).version
    query = f"/api/v1/pods?watch=true&resourceVersion={version}&timeoutSeconds=600"
    audience, connections = await fanout.gather(at.access, query, WATCHERS)
    try:
        delays: list[float] = []
        for number in range(SINGLE):
            seen = len(audience.moments)
            began = time.monotonic()
            await _patch(clients[0], number)
            await audience.until((number + 1) * WATCHERS)
            delays += [moment - began for moment in audience.moments[seen:]]
        began = time.monotonic()
        await _rate(clients, range(EVENTS), _patch)
        await audience.until((SINGLE + EVENTS) * WATCHERS)
        rate = EVENTS * WATCHERS / (time.monotonic() - began)
    finally:
        for connection in connections:
            connection.abort()
    delays.sort()
    return {
        "fanout_p50": [delays[len(delays) // 2]],
        "fanout_p99": [delays[len(delays) * 99 // 100]],
        "fanout_rate": [rate],
    }


def _large_list(at: Plane) -> Samples:
    """All pods in one answer; and the same bytes over TLS with nothing behind them, which no server can beat."""
    url = urllib.parse.urlsplit(at.access.server)
    connection = http.client.HTTPSConnection(
        url.hostname or "127.0.0.1", url.port, context=at.access.tls, timeout=DEADLINE
    )
    times: list[float] = []
    size = 0
    for _ in range(LISTS):
        began = time.monotonic()
        connection.request("GET", "/api/v1/pods")
        size = len(connection.getresponse().read())
        times.append(time.monotonic() - began)
    connection.close()
    floor = min(_bare(at, size) for _ in range(3))
    best = sorted(times)[len(times) // 2]
    return {
        "list_5000": times,
        "list_5000_throughput": [size / 1e6 / seconds for seconds in times],
        "list_5000_floor": [best / floor],
    }


def _bare(at: Plane, size: int) -> float:
    """Seconds that `size` bytes take through TLS between two threads, as the server's certificate and key have it."""
    here, there = socket.socketpair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(at.folder / "pki/apiserver.crt", at.folder / "pki/apiserver.key")

    def send() -> None:
        with context.wrap_socket(there, server_side=True) as tls:
            tls.sendall(bytes(size))
            tls.recv(1)

    sender = threading.Thread(target=send, name="bare TLS", daemon=True)
    sender.start()
    assert at.access.tls is not None
    with at.access.tls.wrap_socket(here, server_hostname="127.0.0.1") as tls:
        began = time.monotonic()
        got = 0
        while got < size:
            got += len(tls.recv(1 << 16))
        took = time.monotonic() - began
        tls.sendall(b".")
        sender.join(DEADLINE)
    return took


def bound_pod(number: int) -> Json:
    """A pod as sites have them: two containers, settings, a volume, bound to one of twenty nodes."""
    container = {
        "image": "registry.local/team/service:1.4.2",
        "env": [{"name": f"SETTING_{index}", "value": f"value-{index}"} for index in range(6)],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}},
        "volumeMounts": [{"name": "settings", "mountPath": "/etc/settings"}],
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10},
    }
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": _name(number), "labels": {"app": f"app-{number % 50}", "tier": "edge"}},
        "spec": {
            "nodeName": f"node-{number % 20}",
            "containers": [{"name": "main", **container}, {"name": "side", **container}],
            "volumes": [{"name": "settings", "configMap": {"name": f"settings-{number % 50}"}}],
        },
    }


def _name(number: int) -> str:
    return f"pod-{number:05}"


def _status(number: int) -> bytes:
    condition = {"type": "Ready", "status": "True", "message": f"reported at {time.monotonic_ns()}, {number}"}
    return msgspec.json.encode({"status": {"phase": "Running", "podIP": "10.0.0.7", "conditions": [condition]}})
