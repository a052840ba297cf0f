"""A conformance test for container runtimes: what edged relies on, checked on any `ContainerRuntime`.

The runtime must know `IMAGE`, a busybox. The in-memory runtime and containerd both pass.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from pathlib import Path

from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.cri.fields import ContainerState, SandboxState
from octoedge.edge.edged.cri.interface import NOT_FOUND, ContainerRuntime
from octoedge.errors import CriError
from octoedge.testing.cri import KILLED, Program

IMAGE = "edge.local/busybox:1"
OBEYS = ("/bin/sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done")
IGNORES = ("/bin/sleep", "1000")
PRINTS = ("/bin/sh", "-c", "echo hello; echo world; exit 3")
PROGRAMS = {
    OBEYS: Program(on_term=7, output=("ready",)),
    IGNORES: Program(),
    PRINTS: Program(seconds=0.05, exit_code=3, output=("hello", "world")),
}
"""What the in-memory runtime does for the commands of this suite."""

_NAMESPACES = f.NamespaceOption(network=f.NamespaceMode.NODE, pid=f.NamespaceMode.CONTAINER)
_LABELS = {"edge.octoedge.io/suite": "lifecycle"}


async def check_runtime(runtime: ContainerRuntime, logs: Path) -> None:
    """Raise `AssertionError` unless `runtime` behaves; it is left as it was found."""
    version = await runtime.version()
    assert version.runtime_name
    assert {c.type for c in (await runtime.status()).status.conditions} >= {"RuntimeReady", "NetworkReady"}
    await _images(runtime)
    await _what_is_not_there(runtime)
    sandbox = _sandbox(logs)
    sandbox_id = await runtime.run_sandbox(sandbox)
    try:
        await _sandbox_is_listed(runtime, sandbox_id)
        await _names_are_reserved(runtime, sandbox)
        await _exit(runtime, sandbox_id, sandbox, logs)
        await _stop(runtime, sandbox_id, sandbox)
        await _exec(runtime, sandbox_id, sandbox)
    finally:
        await runtime.stop_sandbox(sandbox_id)
        [stopped] = await runtime.list_sandboxes(_LABELS)
        assert stopped.state == SandboxState.NOT_READY
        await runtime.remove_sandbox(sandbox_id)
    assert await runtime.list_sandboxes(_LABELS) == ()
    assert await runtime.list_containers(_LABELS) == ()
    await runtime.remove_sandbox(sandbox_id)


async def _images(runtime: ContainerRuntime) -> None:
    image = await runtime.image_status(IMAGE)
    assert image is not None
    assert image.id.startswith("sha256:")
    assert await runtime.image_status("edge.local/none:1") is None
    assert (await _refusal(runtime.pull_image("127.0.0.1:1/none:1", None, None))).message


async def _what_is_not_there(runtime: ContainerRuntime) -> None:
    await runtime.stop_container("none", 1.0)
    await runtime.remove_container("none")
    await runtime.stop_sandbox("none")
    await runtime.remove_sandbox("none")
    assert (await _refusal(runtime.container_status("none"))).code == NOT_FOUND


async def _sandbox_is_listed(runtime: ContainerRuntime, sandbox_id: str) -> None:
    [listed] = await runtime.list_sandboxes(_LABELS)
    assert listed.id == sandbox_id
    assert listed.state == SandboxState.READY
    assert listed.metadata.attempt == 4
    status = await runtime.sandbox_status(sandbox_id)
    assert status.labels["edge.octoedge.io/suite"] == "lifecycle"
    assert await runtime.list_sandboxes({**_LABELS, "other": "label"}) == ()


async def _names_are_reserved(runtime: ContainerRuntime, sandbox: f.SandboxConfig) -> None:
    assert "reserved" in (await _refusal(runtime.run_sandbox(sandbox))).message


async def _exit(runtime: ContainerRuntime, sandbox_id: str, sandbox: f.SandboxConfig, logs: Path) -> None:
    """A container that ends by itself: exit code, times, reason, log."""
    container_id = await _create(runtime, sandbox_id, sandbox, "prints", PRINTS)
    status = await runtime.container_status(container_id)
    assert status.state == ContainerState.CREATED
    await runtime.start_container(container_id)
    status = await _until(runtime, container_id, ContainerState.EXITED)
    assert (status.exit_code, status.reason) == (3, "Error")
    # A very short one may end before its start is written down: no order between the two.
    assert status.started_at > 0
    assert status.finished_at > 0
    assert status.annotations == {"a": "b"}
    assert _lines(logs / "prints/0.log") == ["stdout F hello", "stdout F world"]
    await runtime.remove_container(container_id)


async def _stop(runtime: ContainerRuntime, sandbox_id: str, sandbox: f.SandboxConfig) -> None:
    obeys = await _start(runtime, sandbox_id, sandbox, "obeys", OBEYS)
    # The shell needs a moment until its trap is set.
    await asyncio.sleep(0.5)
    await runtime.stop_container(obeys, 30.0)
    assert (await runtime.container_status(obeys)).exit_code == 7
    ignores = await _start(runtime, sandbox_id, sandbox, "ignores", IGNORES)
    began = asyncio.get_running_loop().time()
    await runtime.stop_container(ignores, 1.0)
    assert asyncio.get_running_loop().time() - began >= 1.0
    status = await runtime.container_status(ignores)
    assert (status.state, status.exit_code) == (ContainerState.EXITED, KILLED)


async def _exec(runtime: ContainerRuntime, sandbox_id: str, sandbox: f.SandboxConfig) -> None:
    container_id = await _start(runtime, sandbox_id, sandbox, "exec", IGNORES)
    assert (await runtime.exec_sync(container_id, ("/bin/true",), 5.0)).exit_code == 0
    await runtime.stop_container(container_id, 0.0)
    assert (await _refusal(runtime.exec_sync(container_id, ("/bin/true",), 5.0))).message


async def _start(
    runtime: ContainerRuntime, sandbox_id: str, sandbox: f.SandboxConfig, name: str, command: tuple[str, ...]
) -> str:
    container_id = await _create(runtime, sandbox_id, sandbox, name, command)
    await runtime.start_container(container_id)
    status = await runtime.container_status(container_id)
    assert status.state == ContainerState.RUNNING
    return container_id


async def _create(
    runtime: ContainerRuntime, sandbox_id: str, sandbox: f.SandboxConfig, name: str, command: tuple[str, ...]
) -> str:
    image = await runtime.image_status(IMAGE)
    assert image is not None
    config = f.ContainerConfig(
        metadata=f.ContainerMetadata(name),
        image=f.ImageSpec(image.id),
        command=command,
        labels=_LABELS,
        annotations={"a": "b"},
        log_path=f"{name}/0.log",
        # Its own process namespace: as process 1 a program without a handler ignores TERM.
        linux=f.LinuxContainerConfig(security_context=f.ContainerSecurityContext(namespace_options=_NAMESPACES)),
    )
    os.makedirs(os.path.join(sandbox.log_directory, name))
    return await runtime.create_container(sandbox_id, config, sandbox)


async def _until(runtime: ContainerRuntime, container_id: str, state: ContainerState) -> f.ContainerStatus:
    for _ in range(200):
        status = await runtime.container_status(container_id)
        if status.state == state:
            return status
        await asyncio.sleep(0.05)
    raise AssertionError(f"container {container_id} is not {state.name} after ten seconds")


async def _refusal(call: Awaitable[object]) -> CriError:
    """The error that a call must end with."""
    try:
        await call
    except CriError as error:
        return error
    raise AssertionError("the runtime did what it must refuse")


def _sandbox(logs: Path) -> f.SandboxConfig:
    return f.SandboxConfig(
        metadata=f.SandboxMetadata("suite", "uid-suite", "default", 4),
        log_directory=str(logs),
        labels=_LABELS,
        linux=f.LinuxSandboxConfig(
            cgroup_parent="/octoedge-test-d/suite",
            security_context=f.SandboxSecurityContext(namespace_options=_NAMESPACES),
        ),
    )


def _lines(path: Path) -> list[str]:
    """The lines of a log without their times."""
    return [line.partition(" ")[2] for line in path.read_text().splitlines()]
