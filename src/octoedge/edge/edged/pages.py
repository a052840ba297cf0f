"""The kubelet's plain pages: a table of paths. What they say is made from what is at hand when they are asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from octoedge.edge.edged.machine import disk
from octoedge.edge.edged.meter import ContainerUse, Meter, Use
from octoedge.edge.edged.observe import Observer
from octoedge.edge.ports import HttpAnswer
from octoedge.errors import ApiError, CriError, DeadlineError, RuntimeUnavailable
from octoedge.runtime.clock import rfc3339

Json = dict[str, Any]

_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_JSON = "application/json"
_NANO = 1_000_000_000


class Pages:
    """`NodePages` of EdgeCore."""

    def __init__(
        self,
        node_name: str,
        root: Path,
        pods: Callable[[], Awaitable[list[bytes]]],
        meter: Meter,
        observer: Observer,
        volumes: Callable[[], Awaitable[dict[str, list[Json]]]],
    ) -> None:
        self._node_name = node_name
        self._root = root
        self._all_pods = pods
        self._meter = meter
        self._observer = observer
        self._volumes = volumes
        self._pages: dict[str, tuple[str, Callable[[], Awaitable[bytes]]]] = {
            "/healthz": (_TEXT, _ok),
            "/healthz/ping": (_TEXT, _ok),
            "/healthz/log": (_TEXT, _ok),
            "/healthz/syncloop": (_TEXT, _ok),
            "/pods": (_JSON, self._pods),
            "/stats": (_JSON, self._summary),
            "/stats/summary": (_JSON, self._summary),
            "/metrics": (_METRICS, self._agent),
            "/metrics/resource": (_METRICS, self._resource),
            "/metrics/cadvisor": (_METRICS, self._cadvisor),
            "/metrics/probes": (_METRICS, _nothing),
        }

    async def page(self, path: str) -> HttpAnswer:
        """The page. Raises `ApiError` 404 and 503."""
        known = self._pages.get("/" + path.strip("/"))
        if known is None:
            raise ApiError(404, "NotFound", "404 page not found")
        content_type, make = known
        try:
            body = await make()
        except CriError as error:
            raise ApiError(500, "InternalError", error.message) from error
        except (RuntimeUnavailable, DeadlineError) as error:
            raise ApiError(503, "ServiceUnavailable", str(error)) from error
        return HttpAnswer(200, _once(body), {"Content-Type": content_type})

    async def _pods(self) -> bytes:
        head: Json = {"kind": "PodList", "apiVersion": "v1", "metadata": {}}
        return msgspec.json.encode({**head, "items": [msgspec.Raw(pod) for pod in await self._all_pods()]})

    async def _summary(self) -> bytes:
        space = disk(self._root)
        files = {
            "availableBytes": space.free, "capacityBytes": space.size, "usedBytes": space.size - space.free,
            "inodesFree": space.inodes_free, "inodes": space.inodes, "inodesUsed": space.inodes - space.inodes_free,
        }  # fmt: skip
        use, volumes = await asyncio.gather(self._meter.read(), self._volumes())
        return msgspec.json.encode(summary(use, self._node_name, files, volumes))

    async def _resource(self) -> bytes:
        return resource_metrics(await self._meter.read())

    async def _cadvisor(self) -> bytes:
        return cadvisor_metrics(await self._meter.read())

    async def _agent(self) -> bytes:
        containers = sum(one.alive for pod in self._observer.pods.values() for one in pod.containers)
        return exposition(
            [
                ("kubelet_running_pods", "gauge", "Pods on this node.", [("", len(self._observer.pods))]),
                ("kubelet_running_containers", "gauge", "Containers that run.", [("", containers)]),
                ("process_cpu_seconds_total", "counter", "Seconds of this agent.", [("", time.process_time())]),
                ("process_resident_memory_bytes", "gauge", "Memory of this agent.", [("", _resident())]),
            ]
        )


def summary(use: Use, node_name: str, files: Json, volumes: Mapping[str, list[Json]]) -> Json:
    """/stats/summary; `volumes` by pod uid."""
    at = rfc3339(use.at)
    by_pod: dict[str, list[ContainerUse]] = {}
    for container in use.containers:
        by_pod.setdefault(container.uid, []).append(container)
    used = use.memory - use.available
    node = {
        "nodeName": node_name,
        "cpu": {
            "time": at,
            "usageNanoCores": use.rate,
            "usageCoreNanoSeconds": use.cpu,
            "windowSeconds": round(use.window, 3),  # ours alone; who does not know it passes over it
        },
        "memory": {"time": at, "availableBytes": use.available, "usageBytes": used, "workingSetBytes": used},
        "fs": {"time": at, **files},
    }
    return {"node": node, "pods": [_pod(containers, at, volumes) for containers in by_pod.values()]}


def _pod(containers: list[ContainerUse], at: str, volumes: Mapping[str, list[Json]]) -> Json:
    first = containers[0]
    of_pod = [{"time": at, **one} for one in volumes.get(first.uid, ())]
    return {
        "podRef": {"name": first.pod, "namespace": first.namespace, "uid": first.uid},
        "containers": [
            {"name": one.name, **_parts([one], at), "rootfs": {"time": at, "usedBytes": one.disk}} for one in containers
        ],
        **_parts(containers, at),
        **({"volume": of_pod} if of_pod else {}),
    }


def _parts(containers: list[ContainerUse], at: str) -> Json:
    return {
        "cpu": {
            "time": at,
            "usageNanoCores": sum(one.rate for one in containers),
            "usageCoreNanoSeconds": sum(one.cpu for one in containers),
        },
        "memory": {
            "time": at,
            "usageBytes": sum(one.usage for one in containers),
            "workingSetBytes": sum(one.working_set for one in containers),
            "rssBytes": sum(one.rss for one in containers),
        },
    }


Family = tuple[str, str, str, Iterable[tuple[str, float]]]
"""Name, type, help, and (labels, value) of each sample."""


def resource_metrics(use: Use) -> bytes:
    """/metrics/resource, as metrics-server reads it."""
    pods: dict[str, list[ContainerUse]] = {}
    for one in use.containers:
        pods.setdefault(_labels(namespace=one.namespace, pod=one.pod), []).append(one)
    each = [(_labels(container=one.name, namespace=one.namespace, pod=one.pod), one) for one in use.containers]
    seconds, memory = "Cumulative cpu time in core-seconds.", "Current working set in bytes."
    return exposition(
        [
            ("container_cpu_usage_seconds_total", "counter", seconds, [(name, one.cpu / _NANO) for name, one in each]),
            ("container_memory_working_set_bytes", "gauge", memory, [(name, one.working_set) for name, one in each]),
            ("node_cpu_usage_seconds_total", "counter", seconds, [("", use.cpu / _NANO)]),
            ("node_memory_working_set_bytes", "gauge", memory, [("", use.memory - use.available)]),
            (
                "pod_cpu_usage_seconds_total", "counter", seconds,
                [(name, sum(one.cpu for one in group) / _NANO) for name, group in pods.items()],
            ),
            (
                "pod_memory_working_set_bytes", "gauge", memory,
                [(name, sum(one.working_set for one in group)) for name, group in pods.items()],
            ),
        ]
    )  # fmt: skip


def cadvisor_metrics(use: Use) -> bytes:
    """/metrics/cadvisor: the names that dashboards ask for, as far as the runtime knows them."""
    each = [
        (_labels(container=one.name, id=f"/{one.id}", name=one.id, namespace=one.namespace, pod=one.pod), one)
        for one in use.containers
    ]
    rows: list[tuple[str, str, str, Callable[[ContainerUse], float]]] = [
        ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time.", lambda one: one.cpu / _NANO),
        ("container_memory_working_set_bytes", "gauge", "Current working set.", lambda one: one.working_set),
        ("container_memory_usage_bytes", "gauge", "Current memory usage.", lambda one: one.usage),
        ("container_memory_rss", "gauge", "Size of RSS.", lambda one: one.rss),
        ("container_fs_usage_bytes", "gauge", "Bytes of the writable layer.", lambda one: one.disk),
    ]
    return exposition(
        [(name, kind, text, [(labels, value(one)) for labels, one in each]) for name, kind, text, value in rows]
    )


def exposition(families: Iterable[Family]) -> bytes:
    """Prometheus' text format."""
    lines: list[str] = []
    for name, kind, text, samples in families:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        lines += [f"{name}{labels} {value}" for labels, value in samples]
    return ("\n".join(lines) + "\n").encode()


def _labels(**values: str) -> str:
    escaped = {
        key: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for key, value in values.items()
    }
    return "{" + ",".join(f'{key}="{value}"' for key, value in escaped.items()) + "}"


def _resident() -> int:
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * 4096


async def _ok() -> bytes:
    return b"ok"


async def _nothing() -> bytes:
    return b""


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
