"""EdgeStream as the configuration describes it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from octoedge.api.config.edgecore import EdgeStream as Settings
from octoedge.edge.edgestream.edgestream import EdgeStream, tunnel_dial
from octoedge.edge.ports import HttpAnswer, Kubelet, LogRequest, StreamRequest
from octoedge.errors import ApiError
from octoedge.runtime.address import local_ip


def build(settings: Settings, *, node: str, kubelet: Kubelet | None, node_ip: str = "") -> EdgeStream:
    """The module; without edged (`kubelet` is None) everything is refused with a reason."""
    return EdgeStream(
        tunnel_dial(settings, node, lambda: node_ip or local_ip()),
        kubelet or _NoKubelet(),
        write_seconds=settings.write_deadline,
        silence_seconds=settings.read_deadline,
    )


class _NoKubelet:
    async def logs(self, request: LogRequest) -> AsyncIterator[bytes]:
        raise ApiError(501, "NotImplemented", f"edged is switched off on this node, so {request.pod} has no logs here")

    async def page(self, path: str) -> HttpAnswer:
        raise ApiError(501, "NotImplemented", f"edged is switched off on this node, so there is no {path[:100]} here")

    async def stream_url(self, request: StreamRequest) -> str:
        text = f"edged is switched off on this node, so nothing can be done in {request.pod} here"
        raise ApiError(501, "NotImplemented", text)
