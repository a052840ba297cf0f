"""The local health and metrics endpoint (KubeEdge's monitor, 127.0.0.1:9091).

GET /healthz   {"ok": …, "nodes": [connected nodes], "waitingFor": [modules that are not ready], "detail": …}
GET /metrics   Prometheus text: KubeEdge's `connected_nodes`, what waits for each node's confirmation, what each node's
               channel has carried
GET /usage     {node: {"seconds": since counting began, "rows": [{direction, cause, messages, bytes}]}}; ?node=NAME
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from octoedge.protocol.routes import Direction
from octoedge.protocol.usage import Count, Usage
from octoedge.transport.websocket_server import start

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Readings:
    """Where the monitor reads from."""

    connected: Callable[[], Collection[str]]
    unconfirmed: Callable[[], Mapping[str, int]]
    waiting_for: Callable[[], list[str]]
    usage: Mapping[str, Usage]
    now: Callable[[], float]


def health(readings: Readings) -> dict[str, Any]:
    """How CloudCore is."""
    waiting = readings.waiting_for()
    return {
        "ok": not waiting,
        "nodes": sorted(readings.connected()),
        "waitingFor": waiting,
        "detail": f"not ready yet: {', '.join(waiting)}" if waiting else "",
    }


class Monitor:
    """Module: answers health and metrics on a local port."""

    name = "monitor"
    needs: tuple[str, ...] = ()

    def __init__(self, address: str, readings: Readings) -> None:
        host, _, port = address.rpartition(":")
        self._host = host.strip("[]")
        self.port = int(port)
        self._readings = readings

    async def run(self, ready: Callable[[], None]) -> None:
        """Listen until cancelled; `port` then is the real one, also when 0 was asked for."""
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=1.0)
        await runner.setup()
        try:
            await start(web.TCPSite(runner, self._host, self.port), f"http://{self._host}:{self.port}")
            self.port = runner.addresses[0][1]
            ready()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/usage" and request.method == "GET":
            return self._usage(request.query.get("node"))
        page = {"/healthz": self._health, "/metrics": self._metrics}.get(request.path)
        if page is None or request.method != "GET":
            return web.Response(status=404, text="404: this port answers GET /healthz, GET /metrics and GET /usage\n")
        return page()

    def _health(self) -> web.Response:
        body = health(self._readings)
        status = 200 if body["ok"] else 503
        return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")

    def _usage(self, node: str | None) -> web.Response:
        now = self._readings.now()
        usages = {name: usage for name, usage in self._readings.usage.items() if node in (None, name)}
        body = {name: {"seconds": now - usage.since, "rows": usage.rows()} for name, usage in usages.items()}
        return web.Response(body=msgspec.json.encode(body), content_type="application/json")

    def _channel(self, what: str, said: str, of: Callable[[Count], int]) -> Iterator[str]:
        name = f"octoedge_channel_{what}_total"
        yield f"# HELP {name} {said}"
        yield f"# TYPE {name} counter"
        for node, usage in sorted(self._readings.usage.items()):
            for direction in Direction:
                labels = f'node="{node}",direction="{direction.name.lower()}"'
                yield f"{name}{{{labels}}} {of(usage.total(direction))}"

    def _metrics(self) -> web.Response:
        unconfirmed = self._readings.unconfirmed()
        lines = [
            "# HELP connected_nodes Nodes that have a session here.",
            "# TYPE connected_nodes gauge",
            f"connected_nodes {len(self._readings.connected())}",
            "# HELP octoedge_unconfirmed_objects Objects that a node has not confirmed yet.",
            "# TYPE octoedge_unconfirmed_objects gauge",
            *(f'octoedge_unconfirmed_objects{{node="{node}"}} {count}' for node, count in sorted(unconfirmed.items())),
            *self._channel("bytes", "Bytes of WebSocket frames on the channel of a node.", lambda count: count.size),
            *self._channel("messages", "Messages on the channel of a node.", lambda count: count.messages),
        ]
        return web.Response(text="\n".join(lines) + "\n", headers={"Content-Type": "text/plain; version=0.0.4"})
