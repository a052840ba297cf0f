"""metrics.k8s.io, for `kubectl top`: what nodes and pods use, asked of the nodes when it is asked for.

    nodes → /stats/summary of each node that is meant, side by side → NodeMetrics, PodMetrics

A node that does not answer in time is left out, as metrics-server leaves it out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import aiohttp
import msgspec

from octoedge.apiserver.nodes.nodepages import NodePages
from octoedge.apiserver.serving.requests import Request, Response, json_answer
from octoedge.apiserver.writing.rest import Place
from octoedge.errors import ApiError, not_found
from octoedge.kube.read import Item, Reader
from octoedge.kube.selector import parse_labels

log = logging.getLogger(__name__)

GROUP = "metrics.k8s.io"
VERSION = "v1beta1"
_API_VERSION = f"{GROUP}/{VERSION}"
_SECONDS = 6.0
_MAX_SUMMARY = 8 * 1024 * 1024
_WINDOW = 10.0
"""Seconds that a Go kubelet takes its rates over; ours says so itself."""

Json = dict[str, Any]
Handler = Callable[[Request, Place], Awaitable[Response]]


class _Cpu(msgspec.Struct, frozen=True, rename="camel"):
    usage_nano_cores: int = 0
    time: str = ""
    window_seconds: float = _WINDOW


class _Memory(msgspec.Struct, frozen=True, rename="camel"):
    working_set_bytes: int = 0


class _Part(msgspec.Struct, frozen=True):
    name: str = ""
    cpu: _Cpu = _Cpu()
    memory: _Memory = _Memory()

    def usage(self) -> Json:
        """As ResourceList."""
        return {"cpu": f"{self.cpu.usage_nano_cores}n", "memory": f"{self.memory.working_set_bytes // 1024}Ki"}


class _Reference(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""


class _Pod(msgspec.Struct, frozen=True, rename="camel"):
    pod_ref: _Reference = _Reference()
    containers: tuple[_Part, ...] = ()


class Summary(msgspec.Struct, frozen=True):
    """What is needed of /stats/summary."""

    node: _Part = _Part()
    pods: tuple[_Pod, ...] = ()


_summaries = msgspec.json.Decoder(Summary)


class Metrics:
    """Handlers of the kinds that are measured, not stored."""

    def __init__(self, reader: Reader, pages: NodePages) -> None:
        self._reader = reader
        self._pages = pages
        self._handlers: dict[tuple[str, str], Handler] = {
            ("nodes", "list"): self._list_nodes,
            ("nodes", "get"): self._get_node,
            ("pods", "list"): self._list_pods,
            ("pods", "get"): self._get_pod,
        }

    def handler(self, plural: str, verb: str) -> Handler | None:
        """The handler of a request."""
        return self._handlers.get((plural, verb))

    async def _list_nodes(self, request: Request, _: Place) -> Response:
        nodes = {item.name: _metadata(item) for item in self._chosen(request, "nodes", "")}
        found = await self._ask(nodes)
        return _list("NodeMetrics", [_node(about, found[name]) for name, about in nodes.items() if name in found])

    async def _get_node(self, _: Request, place: Place) -> Response:
        item = self._reader.get("nodes", "", place.name)
        found = await self._ask([place.name] if item is not None else [])
        if item is None or place.name not in found:
            raise not_found("nodemetrics", place.name, GROUP)
        return json_answer({**_head("NodeMetrics"), **_node(_metadata(item), found[place.name])})

    async def _list_pods(self, request: Request, place: Place) -> Response:
        return _list("PodMetrics", await self._pods(self._chosen(request, "pods", place.namespace)))

    async def _get_pod(self, _: Request, place: Place) -> Response:
        item = self._reader.get("pods", place.namespace, place.name)
        rows = await self._pods([item] if item is not None else [])
        if not rows:
            raise not_found("podmetrics", f"{place.namespace}/{place.name}", GROUP)
        return json_answer({**_head("PodMetrics"), **rows[0]})

    async def _pods(self, items: Iterable[Item]) -> list[Json]:
        wanted: dict[tuple[str, str], Json] = {}
        nodes: set[str] = set()
        for item in items:
            pod = msgspec.json.decode(item.data)
            if pod["spec"].get("nodeName"):
                wanted[item.namespace, item.name] = _about(pod)
                nodes.add(pod["spec"]["nodeName"])
        rows = []
        for summary in (await self._ask(nodes)).values():
            for pod in summary.pods:
                about = wanted.get((pod.pod_ref.namespace, pod.pod_ref.name))
                if about is not None and pod.containers:
                    rows.append(_pod(about, pod, summary))
        return sorted(rows, key=lambda row: (row["metadata"]["namespace"], row["metadata"]["name"]))

    def _chosen(self, request: Request, resource: str, namespace: str) -> list[Item]:
        selector = parse_labels(request.query.get("labelSelector", ""))
        return [item for item in self._reader.items(resource, namespace) if selector.matches(item.labels)]

    async def _ask(self, nodes: Iterable[str]) -> dict[str, Summary]:
        """The summaries of the nodes that answer."""
        found: dict[str, Summary] = {}
        async with self._pages.session() as session, asyncio.TaskGroup() as group:
            for node in nodes:
                group.create_task(self._ask_one(session, node, found), name=f"metrics of {node}")
        return found

    async def _ask_one(self, session: aiohttp.ClientSession, node: str, found: dict[str, Summary]) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                found[node] = _summaries.decode(await self._pages.read(session, node, "/stats/summary", _MAX_SUMMARY))
        except (ApiError, TimeoutError, aiohttp.ClientError, msgspec.DecodeError) as error:
            log.debug("= node %s tells nothing of what it uses: %s", node, str(error) or "no answer in time")


def _head(kind: str) -> Json:
    return {"kind": kind, "apiVersion": _API_VERSION}


def _list(kind: str, rows: list[Json]) -> Response:
    return json_answer({**_head(f"{kind}List"), "metadata": {}, "items": rows})


def _node(about: Json, summary: Summary) -> Json:
    return {"metadata": about, **_when(summary), "usage": summary.node.usage()}


def _pod(about: Json, pod: _Pod, summary: Summary) -> Json:
    containers = [{"name": one.name, "usage": one.usage()} for one in pod.containers]
    return {"metadata": about, **_when(summary), "containers": containers}


def _when(summary: Summary) -> Json:
    cpu = summary.node.cpu
    return {"timestamp": cpu.time or None, "window": f"{cpu.window_seconds:.3f}s"}


def _metadata(item: Item) -> Json:
    return _about(msgspec.json.decode(item.data))


def _about(obj: Json) -> Json:
    whole = obj["metadata"]
    about = {"name": whole["name"], "creationTimestamp": whole.get("creationTimestamp")}
    if whole.get("namespace"):
        about["namespace"] = whole["namespace"]
    return {**about, "labels": whole.get("labels") or {}}
