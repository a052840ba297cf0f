"""Device plugins: they register at a socket, tell of their devices, and say what a container needs to use them.

    <root>/device-plugins/kubelet.sock ◄─ Register ─ plugin      plugin ─ ListAndWatch ─► devices ─► node status
    container with a limit of example.com/gpu ─► free devices ─► Allocate ─► mounts, device nodes, variables

Who has which device is kept in a file before a container starts, so a restart gives the same devices to the same
containers. A container whose plugin is not there (yet) waits: after a boot without a cloud plugins start as pods do.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import msgspec

from octoedge.api.core import Container, Pod
from octoedge.api.quantity import whole
from octoedge.edge.edged import deviceapi as d
from octoedge.edge.edged.deviceapi import Grant, Plugin, PluginClient
from octoedge.edge.edged.layout import make_private, write_file
from octoedge.errors import ConfigError, OctoedgeError
from octoedge.transport.grpc import GrpcError

log = logging.getLogger(__name__)

_SOCKET, _CHECKPOINT = "kubelet.sock", "octoedge_devices.json"
_MODE = 0o600
_GONE_SECONDS = 300.0
"""So long a resource whose plugin went away is still shown, with nothing of it to be had."""
_INVALID_ARGUMENT = 3


class DevicesUnavailable(OctoedgeError):
    """A container cannot have its devices now; the text says why."""


class Held(msgspec.Struct, frozen=True):
    """Devices of one container, and what the plugin granted with them (a ContainerAllocateResponse in base64)."""

    ids: tuple[str, ...]
    grant: str


Ledger = dict[str, dict[str, dict[str, Held]]]
"""pod uid → container → resource → what it holds."""


class _Resource(msgspec.Struct):
    """What one plugin offers."""

    plugin: Plugin | None = None
    options: d.Options = msgspec.field(default_factory=d.Options)
    devices: dict[str, bool] = msgspec.field(default_factory=dict)
    """Whether each device is healthy."""
    task: asyncio.Task[None] | None = None
    gone_at: float | None = None


class Devices:
    """The device manager of one node."""

    def __init__(
        self,
        root: Path,
        active: Callable[[], Iterable[str]],
        changed: Callable[[dict[str, tuple[int, int]]], None],
        connect: Callable[[Path], Plugin] = PluginClient,
    ) -> None:
        self._folder = root / "device-plugins"
        self._active = active
        self._changed = changed
        self._connect = connect
        self._resources: dict[str, _Resource] = {}
        self._ledger: Ledger = {}
        self._loaded = False
        self._one_at_a_time = asyncio.Lock()
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Take registrations until cancelled; without the socket pods run, but none gets a device."""
        from octoedge.transport.grpc_server import serving

        make_private(self._folder).chmod(0o755)
        try:
            async with (
                asyncio.TaskGroup() as self._group,
                serving(self._folder / _SOCKET, _MODE, {d.REGISTER: self._register_call}),
            ):
                await asyncio.Event().wait()
        except* ConfigError as errors:
            log.warning("device plugins cannot register: %s", errors.exceptions[0])

    def amounts(self) -> dict[str, tuple[int, int]]:
        """(all, healthy) of each resource, for the node's status."""
        now, found = asyncio.get_running_loop().time(), {}
        for name, resource in self._resources.items():
            gone = resource.gone_at is not None and now - resource.gone_at >= _GONE_SECONDS
            count = 0 if gone else len(resource.devices)
            found[name] = (count, 0 if gone else sum(resource.devices.values()))
        return found

    async def grant(self, pod: Pod, container: Container) -> Grant:
        """The devices that a container asks for: those it has already, else free ones. Raises `DevicesUnavailable`."""
        asked = wishes(container)
        if not asked:
            return Grant()
        async with self._one_at_a_time:
            self._load()
            known = self._resources.keys() | {name for uid in self._ledger.values() for c in uid.values() for name in c}
            parts = [await self._of(pod, container, name, n) for name, n in asked.items() if name in known]
        return merged(parts)

    async def _of(self, pod: Pod, container: Container, name: str, count: int) -> Grant:
        uid = pod.metadata.uid
        resource = self._resources.get(name)
        held = self._ledger.get(uid, {}).get(container.name, {}).get(name)
        if resource is not None and resource.plugin is None and held and not resource.options.pre_start_required:
            return _granted(held)  # Its plugin went away; what it granted holds for the container's next start too.
        if resource is None or resource.plugin is None:
            raise DevicesUnavailable(f"waiting for the device plugin of {name}: it is not registered")
        try:
            if held is None:
                held = await self._allocate(pod, container, name, count, resource)
            if resource.options.pre_start_required:
                await resource.plugin.pre_start(list(held.ids))
        except DevicesUnavailable:
            raise
        except OctoedgeError as error:
            raise DevicesUnavailable(f"the device plugin of {name} gave nothing: {error}") from error
        return _granted(held)

    async def _allocate(self, pod: Pod, container: Container, name: str, count: int, resource: _Resource) -> Held:
        plugin = resource.plugin
        assert plugin is not None
        self._forget_ended()
        healthy = [one for one, well in resource.devices.items() if well]
        free, own = available(healthy, self._ledger, pod, name)
        if len(free) < count:
            text = f"requested number of devices unavailable for {name}. Requested: {count}, Available: {len(free)}"
            raise DevicesUnavailable(text)
        wished: list[str] = []
        if resource.options.get_preferred_allocation_available:
            wished = await plugin.preferred(free, own[:count], count)
        ids = choose(free, own, wished, count)
        grant = base64.b64encode(d.CODEC.encode(await plugin.allocate(ids), Grant)).decode()
        held = Held(tuple(ids), grant)
        self._ledger.setdefault(pod.metadata.uid, {}).setdefault(container.name, {})[name] = held
        self._save()
        return held

    def _forget_ended(self) -> None:
        active = set(self._active())
        self._ledger = {uid: held for uid, held in self._ledger.items() if uid in active}

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        try:
            self._ledger = msgspec.json.decode((self._folder / _CHECKPOINT).read_bytes(), type=Ledger)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            log.warning("who has which device is not known any more: %s", error)

    def _save(self) -> None:
        write_file(self._folder / _CHECKPOINT, msgspec.json.encode(self._ledger), _MODE)

    async def _register_call(self, request: bytes) -> bytes:
        asked = d.CODEC.decode(request, d.RegisterRequest)
        wrong = objection(asked)
        if wrong or self._group is None:
            raise GrpcError(_INVALID_ARGUMENT, wrong or "the agent is on its way out")
        await self.register(asked)
        return b""

    async def register(self, asked: d.RegisterRequest) -> None:
        """A plugin says where it is; one that comes again replaces itself."""
        plugin = self._connect(self._folder / asked.endpoint)
        self._follow_anew(asked.resource_name, plugin, asked.options or d.Options())

    async def add(self, name: str, endpoint: Path, versions: tuple[str, ...]) -> None:
        """A plugin was found at its socket, and is asked how it wants to be treated. Raises `OctoedgeError`."""
        version = d.VERSION if d.VERSION in versions else ", ".join(versions)
        wrong = objection(d.RegisterRequest(version, endpoint.name, name))
        if wrong or self._group is None:
            raise DevicesUnavailable(wrong or "device plugins are not taken now")
        plugin = self._connect(endpoint)
        try:
            self._follow_anew(name, plugin, await plugin.options())
        except OctoedgeError:
            plugin.close()
            raise

    def _follow_anew(self, name: str, plugin: Plugin, options: d.Options) -> None:
        assert self._group is not None
        resource = self._resources.setdefault(name, _Resource())
        if resource.task is not None:
            resource.task.cancel()
        resource.plugin, resource.options, resource.gone_at = plugin, options, None
        log.info("device plugin of %s is registered", name)
        resource.task = self._group.create_task(self._follow(name, resource, plugin), name=f"devices {name}")

    async def _follow(self, name: str, resource: _Resource, plugin: Plugin) -> None:
        try:
            async for devices in plugin.watch():
                resource.devices = {device.id: device.health == d.HEALTHY for device in devices}
                log.info("%s: %d devices, %d of them healthy", name, *self.amounts()[name])
                self._changed(self.amounts())
            why = "its stream has ended"
        except OctoedgeError as error:
            why = str(error)
        finally:
            plugin.close()
        log.warning("the device plugin of %s is away: %s", name, why)
        resource.plugin = None
        resource.devices = dict.fromkeys(resource.devices, False)
        resource.gone_at = asyncio.get_running_loop().time()
        self._changed(self.amounts())
        await asyncio.sleep(_GONE_SECONDS)
        self._changed(self.amounts())


def _granted(held: Held) -> Grant:
    return d.CODEC.decode(base64.b64decode(held.grant), Grant)


GrantDevices = Callable[[Pod, Container], Awaitable[Grant]]


def wishes(container: Container) -> dict[str, int]:
    """How many of each extended resource a container is to have; those of Kubernetes itself are none."""
    found: dict[str, int] = {}
    for name, amount in container.resources.limits.items():
        domain, slash, _ = name.partition("/")
        if slash and domain != "kubernetes.io" and not domain.endswith(".kubernetes.io") and whole(str(amount)) > 0:
            found[name] = whole(str(amount))
    return found


def objection(asked: d.RegisterRequest) -> str:
    """What is wrong with a registration; empty when nothing is."""
    if asked.version != d.VERSION:
        return (
            f"requested API version {asked.version!r} is not supported by kubelet. Supported version is {d.VERSION!r}"
        )
    domain, slash, rest = asked.resource_name.partition("/")
    if not slash or not domain or not rest or domain.endswith("kubernetes.io"):
        return f"the ResourceName {asked.resource_name!r} is invalid"
    if not asked.endpoint or "/" in asked.endpoint or asked.endpoint in (".", ".."):
        return f"the endpoint {asked.endpoint!r} is no name of a socket in the device plugins' directory"
    return ""


def available(healthy: Iterable[str], ledger: Ledger, pod: Pod, name: str) -> tuple[list[str], list[str]]:
    """Devices that nobody has, and among them those that ended init containers of the same pod had."""
    uid = pod.metadata.uid
    init = {one.name for one in pod.spec.init_containers if one.restart_policy != "Always"}
    taken: set[str] = set()
    own: list[str] = []
    for holder, containers in ledger.items():
        for container, resources in containers.items():
            ids = resources[name].ids if name in resources else ()
            if holder == uid and container in init:
                own += ids
            else:
                taken |= set(ids)
    free = [one for one in healthy if one not in taken]
    return free, [one for one in own if one in free]


def choose(free: list[str], own: list[str], wished: Iterable[str], count: int) -> list[str]:
    """`count` devices: those the pod had before, then those the plugin likes, then any."""
    order = dict.fromkeys([*own, *(one for one in wished if one in free), *free])
    return list(order)[:count]


def merged(parts: Iterable[Grant]) -> Grant:
    """All that several plugins granted to one container."""
    parts = list(parts)
    return Grant(
        envs={key: value for part in parts for key, value in part.envs.items()},
        mounts=tuple(one for part in parts for one in part.mounts),
        devices=tuple(one for part in parts for one in part.devices),
        annotations={key: value for part in parts for key, value in part.annotations.items()},
        cdi_devices=tuple(one for part in parts for one in part.cdi_devices),
    )
