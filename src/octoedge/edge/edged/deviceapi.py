"""Device plugins on the wire: Kubernetes' API v1beta1, the fields that edged uses, and a client of one plugin."""

# ruff: noqa: RUF012
# msgspec gives every object its own copy of an empty container.

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar, Protocol

from octoedge.protocol.protobuf import Codec, Message
from octoedge.transport.grpc import Channel

VERSION = "v1beta1"
REGISTER = f"/{VERSION}.Registration/Register"
_PLUGIN = f"/{VERSION}.DevicePlugin/"
_SECONDS = 10.0
HEALTHY = "Healthy"
KIND = "DevicePlugin"
"""As which a device plugin registers where CSI drivers do too."""


class Empty(Message, frozen=True):
    WIRE: ClassVar[str] = ""


class Options(Message, frozen=True):
    pre_start_required: bool = False
    get_preferred_allocation_available: bool = False
    WIRE: ClassVar[str] = "pre_start_required:1:b get_preferred_allocation_available:2:b"


class RegisterRequest(Message, frozen=True):
    version: str = ""
    endpoint: str = ""
    resource_name: str = ""
    options: Options | None = None
    WIRE: ClassVar[str] = "version:1:s endpoint:2:s resource_name:3:s options:4:Options"


class Device(Message, frozen=True):
    id: str = ""
    health: str = ""
    WIRE: ClassVar[str] = "id:1:s health:2:s"


class ListAndWatchResponse(Message, frozen=True):
    devices: tuple[Device, ...] = ()
    WIRE: ClassVar[str] = "devices:1:*Device"


class ContainerPreference(Message, frozen=True):
    available: tuple[str, ...] = ()
    must_include: tuple[str, ...] = ()
    size: int = 0
    WIRE: ClassVar[str] = "available:1:*s must_include:2:*s size:3:i"


class PreferredRequest(Message, frozen=True):
    containers: tuple[ContainerPreference, ...] = ()
    WIRE: ClassVar[str] = "containers:1:*ContainerPreference"


class ContainerIds(Message, frozen=True):
    ids: tuple[str, ...] = ()
    WIRE: ClassVar[str] = "ids:1:*s"


class PerContainer(Message, frozen=True):
    """PreferredAllocationResponse and AllocateRequest."""

    containers: tuple[ContainerIds, ...] = ()
    WIRE: ClassVar[str] = "containers:1:*ContainerIds"


class DeviceMount(Message, frozen=True):
    container_path: str = ""
    host_path: str = ""
    read_only: bool = False
    WIRE: ClassVar[str] = "container_path:1:s host_path:2:s read_only:3:b"


class DeviceNode(Message, frozen=True):
    container_path: str = ""
    host_path: str = ""
    permissions: str = ""
    WIRE: ClassVar[str] = "container_path:1:s host_path:2:s permissions:3:s"


class CdiDevice(Message, frozen=True):
    name: str = ""
    WIRE: ClassVar[str] = "name:1:s"


class Grant(Message, frozen=True):
    """ContainerAllocateResponse: what a container gets so that it can use its devices."""

    envs: dict[str, str] = {}
    mounts: tuple[DeviceMount, ...] = ()
    devices: tuple[DeviceNode, ...] = ()
    annotations: dict[str, str] = {}
    cdi_devices: tuple[CdiDevice, ...] = ()
    WIRE: ClassVar[str] = (
        "envs:1:M mounts:2:*DeviceMount devices:3:*DeviceNode annotations:4:M cdi_devices:5:*CdiDevice"
    )


class AllocateResponse(Message, frozen=True):
    containers: tuple[Grant, ...] = ()
    WIRE: ClassVar[str] = "containers:1:*Grant"


CODEC = Codec({kind.__name__: kind for kind in (
    Empty, Options, RegisterRequest, Device, ListAndWatchResponse, ContainerPreference, PreferredRequest, ContainerIds,
    PerContainer, DeviceMount, DeviceNode, CdiDevice, Grant, AllocateResponse,
)})  # fmt: skip


class Plugin(Protocol):
    """One device plugin. Raises `OctoedgeError` when it does not answer or refuses."""

    async def options(self) -> Options:
        """How it wants to be treated; those that register at the kubelet's socket say it there."""
        ...

    def watch(self) -> AsyncIterator[tuple[Device, ...]]:
        """All its devices, whenever something about them changes; ends when the plugin does."""
        ...

    async def preferred(self, available: list[str], must_include: list[str], size: int) -> list[str]:
        """Which of the available devices it would give."""
        ...

    async def allocate(self, ids: list[str]) -> Grant:
        """What a container needs to use these devices."""
        ...

    async def pre_start(self, ids: list[str]) -> None:
        """A container with these devices is about to start."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class PluginClient:
    """A plugin at its socket."""

    def __init__(self, path: Path) -> None:
        self._channel = Channel(str(path))

    async def options(self) -> Options:
        reply = await self._channel.unary(f"{_PLUGIN}GetDevicePluginOptions", b"", _SECONDS)
        return CODEC.decode(reply, Options)

    async def watch(self) -> AsyncIterator[tuple[Device, ...]]:
        async for reply in self._channel.stream(f"{_PLUGIN}ListAndWatch", b""):
            yield CODEC.decode(reply, ListAndWatchResponse).devices

    async def preferred(self, available: list[str], must_include: list[str], size: int) -> list[str]:
        wish = ContainerPreference(tuple(available), tuple(must_include), size)
        request = CODEC.encode(PreferredRequest((wish,)), PreferredRequest)
        reply = await self._channel.unary(f"{_PLUGIN}GetPreferredAllocation", request, _SECONDS)
        return [one for part in CODEC.decode(reply, PerContainer).containers for one in part.ids]

    async def allocate(self, ids: list[str]) -> Grant:
        request = CODEC.encode(PerContainer((ContainerIds(tuple(ids)),)), PerContainer)
        reply = await self._channel.unary(f"{_PLUGIN}Allocate", request, _SECONDS)
        return next(iter(CODEC.decode(reply, AllocateResponse).containers), Grant())

    async def pre_start(self, ids: list[str]) -> None:
        request = CODEC.encode(ContainerIds(tuple(ids)), ContainerIds)
        await self._channel.unary(f"{_PLUGIN}PreStartContainer", request, _SECONDS)

    def close(self) -> None:
        self._channel.close()
