"""exec, attach and port-forward at the edge: which container is meant, and where the runtime streams it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from octoedge.api.core import Container, Pod
from octoedge.edge.edged import unread
from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.cri.interface import ContainerRuntime
from octoedge.edge.edged.observe import Observer
from octoedge.edge.edged.observed import ContainerSeen, PodSeen
from octoedge.edge.edged.pods import Pods
from octoedge.edge.ports import StreamAction, StreamRequest
from octoedge.errors import ApiError, CriError, DeadlineError, RuntimeUnavailable

log = logging.getLogger(__name__)


class Streams:
    """`ContainerStreams` of EdgeCore."""

    def __init__(self, runtime: ContainerRuntime, pods: Pods, observer: Observer) -> None:
        self._runtime = runtime
        self._pods = pods
        self._observer = observer
        self._state: Path | None = None
        """containerd's folder of state; None for another runtime, and until it was asked."""
        self._asked = False
        self._by_action: dict[StreamAction, Callable[[StreamRequest, Pod, PodSeen], Awaitable[str]]] = {
            StreamAction.EXEC: self._exec,
            StreamAction.ATTACH: self._attach,
            StreamAction.PORT_FORWARD: self._port_forward,
        }

    async def stream_url(self, request: StreamRequest) -> str:
        """Where the runtime does it. Raises `ApiError` with the kubelet's texts."""
        pod = self._pods.named(request.namespace, request.pod)
        if pod is None or (request.uid and pod.metadata.uid != request.uid):
            raise ApiError(404, "NotFound", "pod does not exist")
        try:
            seen = self._observer.pods.get(pod.metadata.uid) or await self._observer.look_at(pod.metadata.uid)
            return await self._by_action[request.action](request, pod, seen)
        except CriError as error:
            raise ApiError(500, "InternalError", error.message) from error
        except (RuntimeUnavailable, DeadlineError) as error:
            raise ApiError(503, "ServiceUnavailable", str(error)) from error

    async def unblock(self, request: StreamRequest) -> None:
        """Read away the input of commands in the container that have ended."""
        pod = self._pods.named(request.namespace, request.pod)
        seen = self._observer.pods.get(pod.metadata.uid) if pod is not None else None
        if pod is None or seen is None:
            return
        try:
            if not self._asked:
                self._state = unread.state_of((await self._runtime.status(verbose=True)).info)
                self._asked = True
            size = unread.read_away(self._state, _running(request, pod, seen).id) if self._state is not None else 0
        except (ApiError, CriError, DeadlineError, RuntimeUnavailable, OSError) as error:
            log.debug("what a command of %s/%s left unread stays there: %s", request.namespace, request.pod, error)
            return
        if size:
            log.debug("a command of %s/%s ended without reading %d bytes", request.namespace, request.pod, size)

    async def _exec(self, request: StreamRequest, pod: Pod, seen: PodSeen) -> str:
        container = _running(request, pod, seen)
        stderr = request.stderr and not request.tty
        return await self._runtime.exec_url(
            f.ExecRequest(container.id, request.command, request.tty, request.stdin, request.stdout, stderr)
        )

    async def _attach(self, request: StreamRequest, pod: Pod, seen: PodSeen) -> str:
        container = _running(request, pod, seen)
        # Whether there is a terminal was decided when the container was made.
        tty = _container(request, pod).tty
        return await self._runtime.attach_url(
            f.AttachRequest(container.id, request.stdin, tty, request.stdout, request.stderr and not tty)
        )

    async def _port_forward(self, request: StreamRequest, _pod: Pod, seen: PodSeen) -> str:
        sandbox = next((sandbox for sandbox in seen.sandboxes if sandbox.ready), None)
        if sandbox is None:
            raise ApiError(500, "InternalError", f'pod "{request.pod}" is not running')
        return await self._runtime.port_forward_url(f.PortForwardRequest(sandbox.id, request.ports))


def _container(request: StreamRequest, pod: Pod) -> Container:
    for container in pod.spec.everyone():
        if container.name == request.container:
            return container
    raise ApiError(404, "NotFound", f'container "{request.container}" not found in pod "{request.pod}"')


def _running(request: StreamRequest, pod: Pod, seen: PodSeen) -> ContainerSeen:
    name = _container(request, pod).name
    found = next((container for container in seen.of(name) if container.state is f.ContainerState.RUNNING), None)
    if found is None:
        raise ApiError(500, "InternalError", f'container not found ("{name}"): it is not running')
    return found
