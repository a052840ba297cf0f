"""CSI on the wire: the node's half of version 1 and the kubelet's plugin registration; the fields that edged uses.

A driver is a `Driver`: at its socket (`DriverClient`), or in memory for tests. Its errors come out as `CsiError`,
worded as the kubelet words them.
"""

# ruff: noqa: RUF012
# msgspec gives every object its own copy of an empty container.

from __future__ import annotations

import enum
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from octoedge.errors import DeadlineError, OctoedgeError
from octoedge.protocol.protobuf import Codec, Message
from octoedge.transport.grpc import Channel, GrpcError

_NODE = "/csi.v1.Node/"
GET_INFO = "/pluginregistration.Registration/GetInfo"
NOTIFY = "/pluginregistration.Registration/NotifyRegistrationStatus"
_SHORT, _LONG = 10.0, 120.0
"""Seconds for a question about the driver, and for work on a volume (the kubelet's csiTimeout)."""
_CODES = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
    "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable",
    "DataLoss", "Unauthenticated",
)  # fmt: skip


class CsiError(OctoedgeError):
    """A driver refused, or gave no answer."""


class Able(enum.IntEnum):
    """What a driver's node service can do beyond publishing."""

    STAGE = 1
    STATS = 2
    SINGLE_NODE_MULTI_WRITER = 5
    MOUNT_GROUP = 6


class AccessMode(enum.IntEnum):
    """Who may have a volume, and how."""

    SINGLE_NODE_WRITER = 1
    MULTI_NODE_READER_ONLY = 3
    MULTI_NODE_MULTI_WRITER = 5
    SINGLE_NODE_SINGLE_WRITER = 6
    SINGLE_NODE_MULTI_WRITER = 7


class Empty(Message, frozen=True):
    WIRE: ClassVar[str] = ""


class PluginInfo(Message, frozen=True):
    type: str = ""
    name: str = ""
    endpoint: str = ""
    versions: tuple[str, ...] = ()
    WIRE: ClassVar[str] = "type:1:s name:2:s endpoint:3:s versions:4:*s"


class RegistrationStatus(Message, frozen=True):
    registered: bool = False
    error: str = ""
    WIRE: ClassVar[str] = "registered:1:b error:2:s"


class Topology(Message, frozen=True):
    segments: dict[str, str] = {}
    WIRE: ClassVar[str] = "segments:1:M"


class NodeInfo(Message, frozen=True):
    """NodeGetInfoResponse."""

    node_id: str = ""
    max_volumes: int = 0
    topology: Topology | None = None
    WIRE: ClassVar[str] = "node_id:1:s max_volumes:2:i topology:3:Topology"


class Rpc(Message, frozen=True):
    type: int = 0
    WIRE: ClassVar[str] = "type:1:i"


class NodeCapability(Message, frozen=True):
    rpc: Rpc | None = None
    WIRE: ClassVar[str] = "rpc:1:Rpc"


class NodeCapabilities(Message, frozen=True):
    capabilities: tuple[NodeCapability, ...] = ()
    WIRE: ClassVar[str] = "capabilities:1:*NodeCapability"


class MountVolume(Message, frozen=True):
    fs_type: str = ""
    flags: tuple[str, ...] = ()
    group: str = ""
    WIRE: ClassVar[str] = "fs_type:1:s flags:2:*s group:3:s"


class Mode(Message, frozen=True):
    mode: int = 0
    WIRE: ClassVar[str] = "mode:1:i"


class Capability(Message, frozen=True):
    """VolumeCapability; block devices are not used here."""

    mount: MountVolume | None = None
    access: Mode | None = None
    WIRE: ClassVar[str] = "mount:2:MountVolume access:3:Mode"


class StageRequest(Message, frozen=True):
    volume_id: str = ""
    publish_context: dict[str, str] = {}
    staging: str = ""
    capability: Capability | None = None
    secrets: dict[str, str] = {}
    volume_context: dict[str, str] = {}
    WIRE: ClassVar[str] = (
        "volume_id:1:s publish_context:2:M staging:3:s capability:4:Capability secrets:5:M volume_context:6:M"
    )


class UnstageRequest(Message, frozen=True):
    volume_id: str = ""
    staging: str = ""
    WIRE: ClassVar[str] = "volume_id:1:s staging:2:s"


class PublishRequest(Message, frozen=True):
    volume_id: str = ""
    publish_context: dict[str, str] = {}
    staging: str = ""
    target: str = ""
    capability: Capability | None = None
    read_only: bool = False
    secrets: dict[str, str] = {}
    volume_context: dict[str, str] = {}
    WIRE: ClassVar[str] = (
        "volume_id:1:s publish_context:2:M staging:3:s target:4:s capability:5:Capability read_only:6:b secrets:7:M "
        "volume_context:8:M"
    )


class UnpublishRequest(Message, frozen=True):
    volume_id: str = ""
    target: str = ""
    WIRE: ClassVar[str] = "volume_id:1:s target:2:s"


class StatsRequest(Message, frozen=True):
    volume_id: str = ""
    path: str = ""
    staging: str = ""
    WIRE: ClassVar[str] = "volume_id:1:s path:2:s staging:3:s"


class Usage(Message, frozen=True):
    """What is used of a volume; `unit` is 1 for bytes and 2 for inodes."""

    available: int = 0
    total: int = 0
    used: int = 0
    unit: int = 0
    WIRE: ClassVar[str] = "available:1:i total:2:i used:3:i unit:4:i"


class Stats(Message, frozen=True):
    usage: tuple[Usage, ...] = ()
    WIRE: ClassVar[str] = "usage:1:*Usage"


CODEC = Codec({kind.__name__: kind for kind in (
    Empty, PluginInfo, RegistrationStatus, Topology, NodeInfo, Rpc, NodeCapability, NodeCapabilities, MountVolume, Mode,
    Capability, StageRequest, UnstageRequest, PublishRequest, UnpublishRequest, StatsRequest, Usage, Stats,
)})  # fmt: skip

M = TypeVar("M", bound=Message)


class Driver(Protocol):
    """The node service of one CSI driver. Raises `CsiError`; each call may be repeated."""

    async def info(self) -> NodeInfo:
        """What the driver calls this node."""
        ...

    async def abilities(self) -> frozenset[int]:
        """Numbers of `Able`, and others."""
        ...

    async def stage(self, request: StageRequest) -> None:
        """Make a volume ready on the node, for all pods."""
        ...

    async def unstage(self, request: UnstageRequest) -> None:
        """Undo `stage`."""
        ...

    async def publish(self, request: PublishRequest) -> None:
        """Mount a volume for one pod."""
        ...

    async def unpublish(self, request: UnpublishRequest) -> None:
        """Undo `publish`."""
        ...

    async def stats(self, request: StatsRequest) -> Stats:
        """How full a volume is."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class DriverClient:
    """A driver at its socket."""

    def __init__(self, path: Path) -> None:
        self._channel = Channel(str(path))

    async def info(self) -> NodeInfo:
        return await self._call("NodeGetInfo", Empty(), NodeInfo, _SHORT)

    async def abilities(self) -> frozenset[int]:
        found = await self._call("NodeGetCapabilities", Empty(), NodeCapabilities, _SHORT)
        return frozenset(one.rpc.type for one in found.capabilities if one.rpc is not None)

    async def stage(self, request: StageRequest) -> None:
        await self._call("NodeStageVolume", request, Empty)

    async def unstage(self, request: UnstageRequest) -> None:
        await self._call("NodeUnstageVolume", request, Empty)

    async def publish(self, request: PublishRequest) -> None:
        await self._call("NodePublishVolume", request, Empty)

    async def unpublish(self, request: UnpublishRequest) -> None:
        await self._call("NodeUnpublishVolume", request, Empty)

    async def stats(self, request: StatsRequest) -> Stats:
        return await self._call("NodeGetVolumeStats", request, Stats, _SHORT)

    def close(self) -> None:
        self._channel.close()

    async def _call(self, method: str, request: Message, answer: type[M], seconds: float = _LONG) -> M:
        try:
            reply = await self._channel.unary(_NODE + method, CODEC.encode(request, type(request)), seconds)
            return CODEC.decode(reply, answer)
        except GrpcError as error:
            name = _CODES[error.code] if error.code < len(_CODES) else f"Code({error.code})"
            raise CsiError(f"rpc error: code = {name} desc = {error.message}") from error
        except DeadlineError as error:
            raise CsiError("rpc error: code = DeadlineExceeded desc = context deadline exceeded") from error
        except OctoedgeError as error:
            raise CsiError(f"rpc error: code = Unavailable desc = {error}") from error
