"""What MetaServer does beyond the Kubernetes API, as KubeEdge's does (spec: metadata, section 6.3): for root of the
machine, also without the cloud.

    POST /api/v1/namespaces/<namespace>/pods/restart   ["<pod>", …]           its containers end, and start anew
    POST /api/v1/pods/unhold-upgrade                   <namespace>/<pod>      a held pod starts
    POST /api/v1/nodes/unhold-upgrade                  <node>                 all held pods of the node start
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from octoedge.edge.ports import LocalPods
from octoedge.errors import ApiError, OctoedgeError, bad_request
from octoedge.transport.http_server import Answer, Request

_JSON = {"Content-Type": "application/json"}
_MOST = 1000
Work = Callable[[Request, str], Awaitable[Answer]]


class Extensions:
    """Knows these paths; `pods` is edged, once it is there."""

    def __init__(self, node: str) -> None:
        self._node = node
        self.pods: LocalPods | None = None
        self._paths: dict[tuple[str, ...], Work] = {
            ("pods", "unhold-upgrade"): self._release,
            ("nodes", "unhold-upgrade"): self._release_all,
            ("pods", "restart"): self._restart,
        }

    def find(self, request: Request) -> Callable[[], Awaitable[Answer]] | None:
        """What does it, if it is one of these."""
        parts = request.path.strip("/").split("/")
        if request.method != "POST" or parts[:2] != ["api", "v1"]:
            return None
        namespace = parts[3] if len(parts) == 6 and parts[2] == "namespaces" else ""
        work = self._paths.get(tuple(parts[-2:])) if len(parts) == (6 if namespace else 4) else None
        if work is None or bool(namespace) != (work == self._restart):
            return None
        return lambda: work(request, namespace)

    async def _release(self, request: Request, _: str) -> Answer:
        namespace, slash, name = _text(request).partition("/")
        if not (namespace and slash and name) or "/" in name:
            raise bad_request("the body must be <namespace>/<pod>")
        if not self._local().release(namespace, name):
            raise ApiError(404, "NotFound", f'pod "{namespace}/{name}" is not held on this node')
        return Answer(200, b"", _JSON)

    async def _release_all(self, request: Request, _: str) -> Answer:
        if _text(request) != self._node:
            raise bad_request(f"the body must be the name of this node, {self._node}")
        self._local().release_all()
        return Answer(200, b"", _JSON)

    async def _restart(self, request: Request, namespace: str) -> Answer:
        try:
            names = msgspec.json.decode(request.body, type=list[str])
        except (msgspec.DecodeError, RecursionError) as error:
            raise bad_request(f"the body must be a list of names of pods: {error}") from error
        if len(names) > _MOST:
            raise bad_request(f"at most {_MOST} pods at once")
        errors, told = [], []
        for name in names:
            try:
                await self._local().restart(namespace, name)
                told.append(f"pod {namespace}/{name} restarts")
            except OctoedgeError as error:
                errors.append(str(error))
        return Answer(200, msgspec.json.encode({"errMessages": errors, "LogMessages": told}), _JSON)

    def _local(self) -> LocalPods:
        if self.pods is None:
            raise ApiError(503, "ServiceUnavailable", "edged is switched off on this node: there are no pods")
        return self.pods


def _text(request: Request) -> str:
    return request.body[:1024].decode(errors="replace").strip().strip('"')
