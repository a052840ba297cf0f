"""A container runtime in memory: the same interface as `CriClient`, the same behaviour, no processes.

A container runs the `Program` that its command names: for how long, with what exit code, what it prints, and what it
does on TERM. Time is the event loop's, so that under `octoedge.testing.clock.run` hours pass at once. Tests make things
go wrong by `exit_container`, `kill_sandbox`, `away` and `fail_next`.
"""

# ruff: noqa: ARG002  (the signatures are the interface's; a runtime without processes has no use for some arguments)

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from octoedge.edge.edged import names
from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.cri.fields import ContainerState, SandboxState
from octoedge.edge.edged.cri.interface import NOT_FOUND, UNIMPLEMENTED
from octoedge.errors import CriError, DeadlineError, OctoedgeError, RuntimeUnavailable
from octoedge.runtime.clock import Clock, rfc3339_micro

T = TypeVar("T")

UNKNOWN = 2
_DEADLINE = 20.0
KILLED = 137


@dataclass(frozen=True)
class Program:
    """What a container does."""

    seconds: float | None = None
    """How long it runs by itself; None: until it is stopped."""
    exit_code: int = 0
    output: tuple[str, ...] = ()
    """Lines that it prints when it starts."""
    on_term: int | None = None
    """Exit code after TERM; None: it ignores TERM and is killed."""
    start_error: str = ""


@dataclass
class _Sandbox:
    id: str
    config: f.SandboxConfig
    created_at: int
    ip: str
    state: SandboxState = SandboxState.READY


@dataclass
class _Container:
    id: str
    sandbox_id: str
    config: f.ContainerConfig
    program: Program
    log: Path
    created_at: int
    state: ContainerState = ContainerState.CREATED
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    timer: asyncio.TimerHandle | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class MemoryRuntime:
    """`ContainerRuntime` in memory."""

    def __init__(self, clock: Clock, *, images: tuple[str, ...] = (), events: bool = True) -> None:
        self._clock = clock
        self._events = events
        self._streams: list[asyncio.Queue[str | None]] = []
        self._number = 0
        self._failures: dict[str, list[OctoedgeError]] = {}
        self.images = {name: image(name) for name in images}
        self.registry: dict[str, f.Image] = {}
        """Images that can be pulled."""
        self.programs: dict[tuple[str, ...], Program] = {}
        """By command and arguments; a command without an entry runs until it is killed."""
        self.sandboxes: dict[str, _Sandbox] = {}
        self.containers: dict[str, _Container] = {}
        self.calls: list[str] = []
        self.starts: Counter[tuple[str, str]] = Counter()
        """How often a container was started, by pod uid and name."""
        self.pulls: list[tuple[str, f.AuthConfig | None]] = []
        self.away = False
        self.hangs = False
        """Calls are taken, and never answered: they end with their deadline."""
        self.network_ready = True
        self.sandbox_image = ""
        """What its configuration names, as older runtimes tell it."""
        self.run_command: Callable[[str, tuple[str, ...]], f.ExecSyncResponse] = lambda _id, _cmd: f.ExecSyncResponse()
        """What exec answers."""
        self.streams_at = ""
        """URL that exec, attach and port-forward are answered with; empty: they are refused."""
        self.streams_asked: list[f.ExecRequest | f.AttachRequest | f.PortForwardRequest] = []
        self.latency = 0.0
        """Seconds until a call has its effect."""
        self.answer_latency = 0.0
        """Seconds from the effect to the answer: who is cut off in between does not hear of what was done."""

    # --- what tests do ------------------------------------------------------------------------------------------------

    def fail_next(self, call: str, error: OctoedgeError) -> None:
        """Let the next call of a method raise."""
        self._failures.setdefault(call, []).append(error)

    def exit_container(self, container_id: str, exit_code: int, reason: str = "") -> None:
        """The container's process ends by itself."""
        self._end(self.containers[container_id], exit_code, reason)

    def kill_sandbox(self, sandbox_id: str) -> None:
        """The pause process dies; containers go on."""
        self.sandboxes[sandbox_id].state = SandboxState.NOT_READY
        self._emit(sandbox_id)

    def running(self) -> list[_Container]:
        """Containers that run, oldest first."""
        return [c for c in self.containers.values() if c.state is ContainerState.RUNNING]

    def set_away(self, away: bool) -> None:
        """The runtime stops answering, or comes back; containers live on."""
        self.away = away
        if away:
            for stream in self._streams:
                stream.put_nowait(None)

    # --- the interface ------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        pass

    async def version(self) -> f.VersionResponse:
        await self._call("version")
        return f.VersionResponse("0.1.0", "memory", "1.0.0", "v1")

    async def status(self, *, verbose: bool = False) -> f.StatusResponse:
        await self._call("status")
        network = f.RuntimeCondition("NetworkReady", self.network_ready)
        if not self.network_ready:
            network = f.RuntimeCondition("NetworkReady", False, "NetworkPluginNotReady", "no network")
        conditions = f.RuntimeStatus((f.RuntimeCondition("RuntimeReady", True), network))
        info = {"config": f'{{"sandboxImage":"{self.sandbox_image}"}}'} if verbose and self.sandbox_image else {}
        return f.StatusResponse(conditions, info)

    async def run_sandbox(self, config: f.SandboxConfig, handler: str = "") -> str:
        await self._call("run_sandbox")
        on_host = _network(config) == f.NamespaceMode.NODE
        if not on_host and not self.network_ready:
            raise CriError("RunPodSandbox", UNKNOWN, "cni plugin not initialized")
        if any(sandbox.config.metadata == config.metadata for sandbox in self.sandboxes.values()):
            raise CriError("RunPodSandbox", UNKNOWN, f'name "{config.metadata.name}" is reserved')
        sandbox = _Sandbox(self._id("sandbox"), config, self._nanoseconds(), "" if on_host else self._address())
        self.sandboxes[sandbox.id] = sandbox
        self._emit(sandbox.id)
        await asyncio.sleep(self.answer_latency)
        return sandbox.id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        await self._call("stop_sandbox")
        sandbox = self.sandboxes.get(sandbox_id)
        if sandbox is None:
            return
        for container in self._inside(sandbox_id):
            self._end(container, KILLED, "")
        if sandbox.state is SandboxState.READY:
            sandbox.state = SandboxState.NOT_READY
            self._emit(sandbox_id)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        await self._call("remove_sandbox")
        for container in self._inside(sandbox_id):
            del self.containers[container.id]
        self.sandboxes.pop(sandbox_id, None)
        await asyncio.sleep(self.answer_latency)

    async def sandbox_status(self, sandbox_id: str) -> f.SandboxStatus:
        await self._call("sandbox_status")
        sandbox = self._known(self.sandboxes, sandbox_id, "PodSandboxStatus")
        config = sandbox.config
        network = f.SandboxNetwork(sandbox.ip)
        labels, notes = config.labels, config.annotations
        return f.SandboxStatus(sandbox.id, config.metadata, sandbox.state, sandbox.created_at, network, labels, notes)

    async def list_sandboxes(self, labels: dict[str, str]) -> tuple[f.Sandbox, ...]:
        await self._call("list_sandboxes")
        return tuple(
            f.Sandbox(s.id, s.config.metadata, s.state, s.created_at, s.config.labels, s.config.annotations)
            for s in self.sandboxes.values()
            if labels.items() <= s.config.labels.items()
        )

    async def create_container(self, sandbox_id: str, config: f.ContainerConfig, sandbox: f.SandboxConfig) -> str:
        await self._call("create_container")
        self._known(self.sandboxes, sandbox_id, "CreateContainer")
        if not any(known.id == config.image.image for known in self.images.values()):
            raise CriError("CreateContainer", NOT_FOUND, f'image "{config.image.image}" not found')
        if any(c.config.metadata == config.metadata for c in self._inside(sandbox_id)):
            raise CriError("CreateContainer", UNKNOWN, f'name "{config.metadata.name}" is reserved')
        program = self.programs.get((*config.command, *config.args), Program())
        container = _Container(
            id=self._id("container"),
            sandbox_id=sandbox_id,
            config=config,
            program=program,
            log=Path(sandbox.log_directory) / config.log_path,
            created_at=self._nanoseconds(),
        )
        self.containers[container.id] = container
        await asyncio.sleep(self.answer_latency)
        return container.id

    async def start_container(self, container_id: str) -> None:
        await self._call("start_container")
        container = self._known(self.containers, container_id, "StartContainer")
        if container.state is not ContainerState.CREATED:
            raise CriError("StartContainer", UNKNOWN, "container is not in created state")
        container.started_at = self._nanoseconds()
        if container.program.start_error:
            container.state = ContainerState.RUNNING
            self._end(container, 128, "StartError")
            raise CriError("StartContainer", UNKNOWN, container.program.start_error)
        container.state = ContainerState.RUNNING
        self.starts[container.config.labels.get(names.POD_UID, ""), container.config.metadata.name] += 1
        self._print(container)
        self._emit(container_id)
        if container.program.seconds is not None:
            loop = asyncio.get_running_loop()
            code = container.program.exit_code
            container.timer = loop.call_later(container.program.seconds, self._end, container, code, "")
        await asyncio.sleep(self.answer_latency)

    async def stop_container(self, container_id: str, grace: float) -> None:
        await self._call("stop_container")
        container = self.containers.get(container_id)
        if container is None or container.state is not ContainerState.RUNNING:
            return
        if container.program.on_term is not None and grace > 0:
            self._end(container, container.program.on_term, "")
            return
        try:
            async with asyncio.timeout(grace):
                await container.ended.wait()
        except TimeoutError:
            self._end(container, KILLED, "")

    async def remove_container(self, container_id: str) -> None:
        await self._call("remove_container")
        container = self.containers.get(container_id)
        if container is not None:
            self._end(container, KILLED, "")
            del self.containers[container_id]

    async def list_containers(self, labels: dict[str, str]) -> tuple[f.Container, ...]:
        await self._call("list_containers")
        return tuple(
            f.Container(
                c.id,
                c.sandbox_id,
                c.config.metadata,
                c.config.image,
                c.config.image.image,
                c.state,
                c.created_at,
                c.config.labels,
                c.config.annotations,
            )
            for c in self.containers.values()
            if labels.items() <= c.config.labels.items()
        )

    async def container_status(self, container_id: str) -> f.ContainerStatus:
        await self._call("container_status")
        c = self._known(self.containers, container_id, "ContainerStatus")
        reason = c.reason
        if c.state is ContainerState.EXITED and not reason:
            reason = "Completed" if c.exit_code == 0 else "Error"
        tag = next((name for name, known in self.images.items() if known.id == c.config.image.image), "")
        return f.ContainerStatus(
            id=c.id,
            metadata=c.config.metadata,
            state=c.state,
            created_at=c.created_at,
            started_at=c.started_at,
            finished_at=c.finished_at,
            exit_code=c.exit_code,
            image=f.ImageSpec(tag),
            image_ref=c.config.image.image,
            reason=reason,
            labels=c.config.labels,
            annotations=c.config.annotations,
            log_path=str(c.log),
        )

    async def container_stats(self, labels: dict[str, str]) -> tuple[f.ContainerStats, ...]:
        """A tenth of a core since its start, and 10 MiB, for each running container."""
        await self._call("container_stats")
        return tuple(
            f.ContainerStats(
                f.ContainerAttributes(c.id, c.config.metadata, c.config.labels),
                f.CpuUsage(self._nanoseconds(), f.UInt64Value((self._nanoseconds() - c.started_at) // 10)),
                f.MemoryUsage(self._nanoseconds(), f.UInt64Value(10 << 20), f.UInt64Value(12 << 20)),
            )
            for c in self.running()
            if labels.items() <= c.config.labels.items()
        )

    async def reopen_log(self, container_id: str) -> None:
        await self._call("reopen_log")
        self._known(self.containers, container_id, "ReopenContainerLog").log.touch()

    async def exec_sync(self, container_id: str, command: tuple[str, ...], timeout: float) -> f.ExecSyncResponse:
        await self._call("exec_sync")
        container = self._known(self.containers, container_id, "ExecSync")
        if container.state is not ContainerState.RUNNING:
            raise CriError("ExecSync", UNKNOWN, "container is in CONTAINER_EXITED state")
        return self.run_command(container_id, command)

    async def image_status(self, image: str) -> f.Image | None:
        await self._call("image_status")
        return self.images.get(image)

    async def pull_image(self, image: str, auth: f.AuthConfig | None, sandbox: f.SandboxConfig | None) -> str:
        await self._call("pull_image")
        self.pulls.append((image, auth))
        found = self.registry.get(image)
        if found is None:
            raise CriError("PullImage", NOT_FOUND, f'failed to resolve reference "{image}": not found')
        self.images[image] = found
        return found.id

    async def list_images(self) -> tuple[f.Image, ...]:
        await self._call("list_images")
        return tuple(self.images.values())

    async def remove_image(self, image: str) -> None:
        await self._call("remove_image")
        self.images = {name: known for name, known in self.images.items() if image not in (name, known.id)}

    async def image_filesystems(self) -> tuple[f.FilesystemUsage, ...]:
        await self._call("image_filesystems")
        used = sum(known.size for known in self.images.values())
        return (f.FilesystemUsage(self._nanoseconds(), used_bytes=f.UInt64Value(used)),)

    async def exec_url(self, request: f.ExecRequest) -> str:
        return self._stream("Exec", request)

    async def attach_url(self, request: f.AttachRequest) -> str:
        return self._stream("Attach", request)

    async def port_forward_url(self, request: f.PortForwardRequest) -> str:
        return self._stream("PortForward", request)

    def _stream(self, call: str, request: f.ExecRequest | f.AttachRequest | f.PortForwardRequest) -> str:
        self.streams_asked.append(request)
        if not self.streams_at:
            raise CriError(call, UNIMPLEMENTED, "the in-memory runtime has no streams")
        return self.streams_at

    async def events(self) -> AsyncIterator[str]:
        """Ids of what changed."""
        await self._call("events")
        if not self._events:
            raise CriError("Subscribe", UNIMPLEMENTED, "unknown service containerd.services.events.v1.Events")
        stream: asyncio.Queue[str | None] = asyncio.Queue(1024)
        self._streams.append(stream)
        try:
            while (changed := await stream.get()) is not None:
                yield changed
        finally:
            self._streams.remove(stream)
        raise RuntimeUnavailable("the in-memory runtime went away")

    # --- inside -------------------------------------------------------------------------------------------------------

    async def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.latency:
            await asyncio.sleep(self.latency)
        if self.away:
            raise RuntimeUnavailable(f"{name}: the in-memory runtime is away")
        if self.hangs:
            await asyncio.sleep(_DEADLINE)
            raise DeadlineError(f"{name}: the in-memory runtime gave no answer in time")
        failures = self._failures.get(name)
        if failures:
            raise failures.pop(0)

    def _end(self, container: _Container, exit_code: int, reason: str) -> None:
        if container.state is not ContainerState.RUNNING:
            return
        if container.timer is not None:
            container.timer.cancel()
        container.state = ContainerState.EXITED
        container.exit_code, container.reason = exit_code, reason
        container.finished_at = self._nanoseconds()
        container.ended.set()
        self._emit(container.id)

    def _emit(self, changed: str) -> None:
        for stream in self._streams:
            if not stream.full():
                stream.put_nowait(changed)

    def _print(self, container: _Container) -> None:
        if not container.config.log_path or not container.log.parent.is_dir():
            return
        stamp = rfc3339_micro(self._clock.now()).replace("Z", "000Z")
        with open(container.log, "a", encoding="utf-8") as log:
            log.writelines(f"{stamp} stdout F {line}\n" for line in container.program.output)

    def _inside(self, sandbox_id: str) -> list[_Container]:
        return [container for container in self.containers.values() if container.sandbox_id == sandbox_id]

    @staticmethod
    def _known(table: dict[str, T], key: str, call: str) -> T:
        if key not in table:
            raise CriError(call, NOT_FOUND, f"{key} not found")
        return table[key]

    def _id(self, kind: str) -> str:
        self._number += 1
        return f"{kind}-{self._number:04}"

    def _address(self) -> str:
        return f"10.88.{self._number // 250}.{self._number % 250 + 2}"

    def _nanoseconds(self) -> int:
        return int(self._clock.now() * 1e9)


def image(name: str, *, user: int | None = 0, username: str = "") -> f.Image:
    """An image as the runtime describes it."""
    return f.Image(
        id=f"sha256:{int.from_bytes(name.encode()[-31:]):064x}",
        repo_tags=(name,),
        size=1_000_000,
        uid=None if user is None else f.Int64Value(user),
        username=username,
    )


def _network(config: f.SandboxConfig) -> int:
    context = config.linux.security_context if config.linux is not None else None
    options = context.namespace_options if context is not None else None
    return options.network if options is not None else f.NamespaceMode.POD
