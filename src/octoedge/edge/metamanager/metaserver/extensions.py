"""What MetaServer does beyond the Kubernetes API, as KubeEdge's does (spec: metadata, section 6.3): for root of the
machine, also without the cloud.

    POST /api/v1/namespaces/<namespace>/pods/restart   ["<pod>", …]           its containers end, and start anew
    POST /api/v1/pods/unhold-upgrade                   <namespace>/<pod>      a held pod starts
    POST /api/v1/nodes/unhold-upgrade                  <node>                 all held pods of the node start
    GET  /api/v1/namespaces/<namespace>/pods/<pod>/log?container=&follow=&tailLines=…  its log, as it is on the node
    POST /api/v1/taskupgrade/confirm-upgrade           is refused: there are no node tasks
    POST /api/v1/namespaces/<namespace>/pods/<pod>/exec    is refused: exec goes through the cloud, which writes it down

A log is KubeEdge's JSON, or text for kubectl and whoever follows it. Who is not root is answered by the cloud.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

import msgspec

from octoedge.edge.ports import LocalPods, LogRequest
from octoedge.errors import ApiError, OctoedgeError, bad_request
from octoedge.protocol.tunnel import Connector
from octoedge.transport.http_server import Answer, Request

_JSON = {"Content-Type": "application/json"}
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}
_MOST, _MOST_LOG = 1000, 3 * 1024 * 1024
Work = Callable[[Request, str], Awaitable[Answer]]


class Extensions:
    """Knows these paths; `pods` is edged, once it is there."""

    def __init__(self, node: str) -> None:
        self._node = node
        self.pods: LocalPods | None = None
        self.parse: Callable[[Connector], LogRequest] | None = None
        """Reads what is asked of a log."""
        self._paths: dict[tuple[str, ...], Work] = {
            ("pods", "unhold-upgrade"): self._release,
            ("nodes", "unhold-upgrade"): self._release_all,
            ("pods", "restart"): self._restart,
        }

    def find(self, request: Request, *, root: bool) -> Callable[[], Awaitable[Answer]] | None:
        """What does it, if it is one of these."""
        parts = request.path.strip("/").split("/")
        if request.method == "POST" and parts[-1] == "confirm-upgrade":
            return _no_upgrade
        if root and len(parts) == 7 and parts[:3] == ["api", "v1", "namespaces"] and parts[4] == "pods":
            namespace, pod = parts[3], parts[5]
            if (request.method, parts[6]) == ("GET", "log") and self.parse is not None:
                return lambda: self._log(request, namespace, pod)
            if parts[6] == "exec":
                return _no_exec
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

    async def _log(self, request: Request, namespace: str, pod: str) -> Answer:
        assert self.parse is not None
        query = dict(request.query)
        containers = self._local().containers(namespace, pod)
        container = query.pop("container", "") or (containers[0] if len(containers) == 1 else "")
        if not container:
            names = " ".join(containers)
            raise bad_request(f"a container name must be specified for pod {pod}, choose one of: [{names}]")
        where = "/".join(urllib.parse.quote(one, safe="") for one in ("containerLogs", namespace, pod, container))
        asked = self.parse(Connector(f"/{where}", urllib.parse.urlencode(query)))
        chunks = await self._local().logs(asked)
        if asked.follow or request.headers.get("user-agent", "").startswith("kubectl"):
            return Answer(200, _streamed(chunks), _TEXT)
        text = bytearray()
        async for chunk in chunks:
            text += chunk
            if len(text) > _MOST_LOG:
                raise bad_request(f"the log is longer than {_MOST_LOG} bytes: ask with tailLines or limitBytes")
        told = [text.decode(errors="replace")]
        return Answer(200, msgspec.json.encode({"errMessages": [], "logMessages": told}), _JSON)

    def _local(self) -> LocalPods:
        if self.pods is None:
            raise ApiError(503, "ServiceUnavailable", "edged is switched off on this node: there are no pods")
        return self.pods


async def _streamed(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async for chunk in chunks:
        yield chunk


async def _no_upgrade() -> Answer:
    raise bad_request("no upgrade of this node waits for a word: node tasks are not implemented; upgrade it by hand")


async def _no_exec() -> Answer:
    text = "exec is not done here: ask the API server (kubectl exec), which knows who asks and writes it down"
    raise ApiError(403, "Forbidden", text)


def _text(request: Request) -> str:
    return request.body[:1024].decode(errors="replace").strip().strip('"')
