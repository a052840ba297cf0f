"""`kubectl logs` of a node that is away: what the cloud last kept, and a sentence that says so.

The sentence goes into the header `Warning`, which kubectl prints beside the log, where the API server passes it on (the
embedded one says that it does). A kube-apiserver drops it; there the sentence is the first line of the log.
"""

from __future__ import annotations

from aiohttp import web

from octoedge.cloud.cloudstream.kept import KeptLogs, selected
from octoedge.errors import ApiError
from octoedge.kube.kubelet import WARNINGS
from octoedge.kube.read import flag
from octoedge.runtime.clock import Clock, rfc3339


class NodesAway:
    """Answers in a node's place."""

    def __init__(self, kept: KeptLogs | None, clock: Clock) -> None:
        self._kept = kept
        self._clock = clock

    async def log(self, request: web.Request, node: str, uid: str, why: ApiError) -> web.Response:
        """The log as far as it was kept; raises `why`, with what is missing, when it was not."""
        if self._kept is None:
            raise why
        container = request.match_info["container"]
        if flag(request.query, "previous"):
            raise _refused(why, "the cloud keeps nothing of a container's previous instance")
        kept = await self._kept.find(node, uid, container)
        if kept is None:
            raise _refused(why, "the cloud has kept nothing of this log")
        said = f"{why.message}. What the cloud last kept of the log is from {rfc3339(kept.at)}"
        body = selected(kept.text, request.query, self._clock.now())
        if request.headers.get(WARNINGS) == "true":
            return _text(body, {"Warning": f'299 - "{said}"'})
        return _text(f"# {said}\n".encode() + body, {})


def _text(body: bytes, headers: dict[str, str]) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": "text/plain; charset=utf-8", **headers})


def _refused(why: ApiError, missing: str) -> ApiError:
    return ApiError(why.code, why.reason, f"{why.message}; {missing}")
