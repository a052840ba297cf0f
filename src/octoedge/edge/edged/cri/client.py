"""CRI over a unix socket: `transport.grpc` for the calls, `codec` for the messages.

One channel, which connects when it is first used and again after it broke. A call is one row: path, request, reply
type, deadline. What gRPC says of a failure is mapped to our errors here.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TypeVar

from octoedge.edge.edged.cri import fields as f
from octoedge.errors import CriError, DeadlineError, ProtocolError, RuntimeUnavailable, TransportError
from octoedge.protocol.protobuf import Codec, Message
from octoedge.transport.grpc import DEADLINE_EXCEEDED, NOT_FOUND, UNAVAILABLE, Channel, GrpcError

T = TypeVar("T", bound=Message)

_RUNTIME = "/runtime.v1.RuntimeService/"
_IMAGE = "/runtime.v1.ImageService/"
_SUBSCRIBE = "/containerd.services.events.v1.Events/Subscribe"
_TASK_EVENTS = 'namespace=="k8s.io",topic~="^/tasks/(start|exit|oom)$"'

_SHORT = 20.0
"""Deadline of calls that read."""
_LONG = 240.0
"""Deadline of calls that make or end something: kubelet's runtimeRequestTimeout is 2 min, slow SD cards need more."""
_PULL = 3600.0
"""Deadline of one pull; progress is the runtime's business (containerd gives up a pull without progress itself)."""


class CriClient:
    """`ContainerRuntime` over the socket of a runtime; `endpoint` is a path or `unix://` URL."""

    def __init__(self, endpoint: str) -> None:
        self.path = endpoint.removeprefix("unix://")
        self._codec = Codec(f.MESSAGES)
        self._channel: Channel | None = None

    async def close(self) -> None:
        """End the connection; a later call opens a new one."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    async def version(self) -> f.VersionResponse:
        return await self._call(_RUNTIME + "Version", f.Empty(), f.VersionResponse)

    async def status(self, *, verbose: bool = False) -> f.StatusResponse:
        return await self._call(_RUNTIME + "Status", f.StatusRequest(verbose), f.StatusResponse)

    async def run_sandbox(self, config: f.SandboxConfig, handler: str = "") -> str:
        request = f.RunSandboxRequest(config, handler)
        return (await self._call(_RUNTIME + "RunPodSandbox", request, f.SandboxId, _LONG)).pod_sandbox_id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        with _gone_is_fine():
            await self._call(_RUNTIME + "StopPodSandbox", f.SandboxId(sandbox_id), f.Empty, _LONG)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        with _gone_is_fine():
            await self._call(_RUNTIME + "RemovePodSandbox", f.SandboxId(sandbox_id), f.Empty, _LONG)

    async def sandbox_status(self, sandbox_id: str) -> f.SandboxStatus:
        return (
            await self._call(_RUNTIME + "PodSandboxStatus", f.SandboxId(sandbox_id), f.SandboxStatusResponse)
        ).status

    async def list_sandboxes(self, labels: dict[str, str]) -> tuple[f.Sandbox, ...]:
        request = f.ListSandboxRequest(f.SandboxFilter(label_selector=labels))
        return (await self._call(_RUNTIME + "ListPodSandbox", request, f.ListSandboxResponse)).items

    async def create_container(self, sandbox_id: str, config: f.ContainerConfig, sandbox: f.SandboxConfig) -> str:
        request = f.CreateContainerRequest(sandbox_id, config, sandbox)
        return (await self._call(_RUNTIME + "CreateContainer", request, f.ContainerId, _LONG)).container_id

    async def start_container(self, container_id: str) -> None:
        await self._call(_RUNTIME + "StartContainer", f.ContainerId(container_id), f.Empty, _LONG)

    async def stop_container(self, container_id: str, grace: float) -> None:
        request = f.StopContainerRequest(container_id, math.ceil(grace))
        with _gone_is_fine():
            await self._call(_RUNTIME + "StopContainer", request, f.Empty, _LONG + grace)

    async def remove_container(self, container_id: str) -> None:
        with _gone_is_fine():
            await self._call(_RUNTIME + "RemoveContainer", f.ContainerId(container_id), f.Empty, _LONG)

    async def list_containers(self, labels: dict[str, str]) -> tuple[f.Container, ...]:
        request = f.ListContainersRequest(f.ContainerFilter(label_selector=labels))
        return (await self._call(_RUNTIME + "ListContainers", request, f.ListContainersResponse)).containers

    async def container_status(self, container_id: str) -> f.ContainerStatus:
        return (
            await self._call(_RUNTIME + "ContainerStatus", f.ContainerId(container_id), f.ContainerStatusResponse)
        ).status

    async def container_stats(self, labels: dict[str, str]) -> tuple[f.ContainerStats, ...]:
        request = f.ListContainerStatsRequest(f.ContainerStatsFilter(labels))
        return (await self._call(_RUNTIME + "ListContainerStats", request, f.ListContainerStatsResponse)).stats

    async def reopen_log(self, container_id: str) -> None:
        await self._call(_RUNTIME + "ReopenContainerLog", f.ContainerId(container_id), f.Empty)

    async def exec_sync(self, container_id: str, command: tuple[str, ...], timeout: float) -> f.ExecSyncResponse:
        # The runtime itself ends the command (and says code 4); the deadline here is only for a dead runtime.
        request = f.ExecSyncRequest(container_id, command, math.ceil(timeout))
        return await self._call(_RUNTIME + "ExecSync", request, f.ExecSyncResponse, timeout + _SHORT)

    async def image_status(self, image: str) -> f.Image | None:
        request = f.ImageRequest(f.ImageSpec(image))
        return (await self._call(_IMAGE + "ImageStatus", request, f.ImageStatusResponse)).image

    async def pull_image(self, image: str, auth: f.AuthConfig | None, sandbox: f.SandboxConfig | None) -> str:
        request = f.PullImageRequest(f.ImageSpec(image), auth, sandbox)
        return (await self._call(_IMAGE + "PullImage", request, f.PullImageResponse, _PULL)).image_ref

    async def list_images(self) -> tuple[f.Image, ...]:
        return (await self._call(_IMAGE + "ListImages", f.Empty(), f.ListImagesResponse)).images

    async def remove_image(self, image: str) -> None:
        await self._call(_IMAGE + "RemoveImage", f.ImageRequest(f.ImageSpec(image)), f.Empty, _LONG)

    async def image_filesystems(self) -> tuple[f.FilesystemUsage, ...]:
        return (await self._call(_IMAGE + "ImageFsInfo", f.Empty(), f.ImageFsInfoResponse)).image_filesystems

    async def exec_url(self, request: f.ExecRequest) -> str:
        return (await self._call(_RUNTIME + "Exec", request, f.StreamUrl)).url

    async def attach_url(self, request: f.AttachRequest) -> str:
        return (await self._call(_RUNTIME + "Attach", request, f.StreamUrl)).url

    async def port_forward_url(self, request: f.PortForwardRequest) -> str:
        return (await self._call(_RUNTIME + "PortForward", request, f.StreamUrl)).url

    async def events(self) -> AsyncIterator[str]:
        """containerd's own task events: there in every version, unlike CRI's GetContainerEvents."""
        request = f.SubscribeRequest((_TASK_EVENTS,))
        with _mapped("Subscribe", self.path):
            async for reply in self._connection().stream(_SUBSCRIBE, self._codec.encode(request, f.SubscribeRequest)):
                changed = self._changed_container(self._codec.decode(reply, f.Envelope))
                if changed:
                    yield changed
        raise RuntimeUnavailable(f"the event stream of the container runtime at {self.path} ended")

    def _changed_container(self, envelope: f.Envelope) -> str:
        if envelope.event is None:
            return ""
        event = self._codec.decode(envelope.event.value, f.TaskEvent)
        of_an_exec = envelope.topic == "/tasks/exit" and event.id not in ("", event.container_id)
        return "" if of_an_exec else event.container_id

    async def _call(self, path: str, request: Message, reply: type[T], timeout: float = _SHORT) -> T:
        with _mapped(path.rpartition("/")[2], self.path):
            answer = await self._connection().unary(path, self._codec.encode(request, type(request)), timeout)
            return self._codec.decode(answer, reply)

    def _connection(self) -> Channel:
        if self._channel is None:
            self._channel = Channel(self.path)
        return self._channel


@contextmanager
def _mapped(call: str, path: str) -> Iterator[None]:
    """gRPC's errors as the runtime's."""
    try:
        yield
    except GrpcError as error:
        if error.code == UNAVAILABLE:
            raise RuntimeUnavailable(
                f"{call}: the container runtime at {path} is not ready: {error.message}"
            ) from error
        if error.code == DEADLINE_EXCEEDED:
            raise DeadlineError(f"{call}: the container runtime at {path} ran out of time: {error.message}") from error
        raise CriError(call, error.code, error.message) from error
    except DeadlineError as error:
        raise DeadlineError(f"{call}: the container runtime at {path} gave no answer in time") from error
    except (OSError, TransportError, ProtocolError) as error:
        raise RuntimeUnavailable(
            f"{call}: the container runtime at {path} does not answer ({error}); is containerd running?"
        ) from error


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except CriError as error:
        if error.code != NOT_FOUND:
            raise
