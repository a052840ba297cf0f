"""EdgeStream as the configuration describes it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from octoedge.api.config.edgecore import EdgeStream as Settings
from octoedge.edge.edgestream.edgestream import EdgeStream, tunnel_dial
from octoedge.edge.ports import ContainerLogs, LogRequest
from octoedge.errors import ApiError
from octoedge.runtime.address import local_ip


def build(settings: Settings, *, node: str, logs: ContainerLogs | None, node_ip: str = "") -> EdgeStream:
    """The module; without edged (`logs` is None) every log is refused with a reason."""
    return EdgeStream(
        tunnel_dial(settings, node, lambda: node_ip or local_ip()),
        logs or _NoLogs(),
        write_seconds=settings.write_deadline,
        silence_seconds=settings.read_deadline,
    )


class _NoLogs:
    async def logs(self, request: LogRequest) -> AsyncIterator[bytes]:
        raise ApiError(501, "NotImplemented", f"edged is switched off on this node, so {request.pod} has no logs here")
