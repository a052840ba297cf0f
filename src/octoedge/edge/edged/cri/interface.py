"""What edged asks of a container runtime.

`client.CriClient` does it over a socket, `octoedge.testing.cri.MemoryRuntime` in memory; both pass the same lifecycle
suite. Every call has a deadline of its own. Errors are `RuntimeUnavailable` (nobody answers; try again),
`DeadlineError` (no answer in time) and `CriError` (the runtime refused, with gRPC code and text).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from octoedge.edge.edged.cri import fields as f

NOT_FOUND = 5
DEADLINE_EXCEEDED = 4
UNIMPLEMENTED = 12


class ContainerRuntime(Protocol):
    """CRI v1, one method a call."""

    async def version(self) -> f.VersionResponse:
        """Name and version of the runtime."""
        ...

    async def status(self, *, verbose: bool = False) -> f.StatusResponse:
        """RuntimeReady and NetworkReady; verbose: with the runtime's configuration, where it tells it."""
        ...

    async def run_sandbox(self, config: f.SandboxConfig, handler: str = "") -> str:
        """Create and start a pod sandbox; returns its id."""
        ...

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Stop it and every container in it by force; no error when it is stopped or gone."""
        ...

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Remove it and its containers; no error when it is gone."""
        ...

    async def sandbox_status(self, sandbox_id: str) -> f.SandboxStatus:
        """One sandbox with its addresses."""
        ...

    async def list_sandboxes(self, labels: dict[str, str]) -> tuple[f.Sandbox, ...]:
        """Sandboxes which have all of `labels`."""
        ...

    async def create_container(self, sandbox_id: str, config: f.ContainerConfig, sandbox: f.SandboxConfig) -> str:
        """Create a container; returns its id."""
        ...

    async def start_container(self, container_id: str) -> None:
        """Start a created container."""
        ...

    async def stop_container(self, container_id: str, grace: float) -> None:
        """TERM, and KILL after `grace` seconds; returns when it has ended. No error when it is stopped or gone."""
        ...

    async def remove_container(self, container_id: str) -> None:
        """Remove a container; no error when it is gone."""
        ...

    async def list_containers(self, labels: dict[str, str]) -> tuple[f.Container, ...]:
        """Containers which have all of `labels`."""
        ...

    async def container_status(self, container_id: str) -> f.ContainerStatus:
        """One container with its times and exit code."""
        ...

    async def container_stats(self, labels: dict[str, str]) -> tuple[f.ContainerStats, ...]:
        """What running containers which have all of `labels` use."""
        ...

    async def reopen_log(self, container_id: str) -> None:
        """Open the log file anew after it was renamed."""
        ...

    async def exec_sync(self, container_id: str, command: tuple[str, ...], timeout: float) -> f.ExecSyncResponse:
        """Run a command to its end; `DeadlineError` when it takes longer than `timeout`."""
        ...

    async def image_status(self, image: str) -> f.Image | None:
        """The image, None when the runtime does not have it."""
        ...

    async def pull_image(self, image: str, auth: f.AuthConfig | None, sandbox: f.SandboxConfig | None) -> str:
        """Fetch an image; returns its reference."""
        ...

    async def list_images(self) -> tuple[f.Image, ...]:
        """All images."""
        ...

    async def remove_image(self, image: str) -> None:
        """Remove an image with all its tags."""
        ...

    async def image_filesystems(self) -> tuple[f.FilesystemUsage, ...]:
        """Space that images take."""
        ...

    async def exec_url(self, request: f.ExecRequest) -> str:
        """Where to stream an exec."""
        ...

    async def attach_url(self, request: f.AttachRequest) -> str:
        """Where to stream an attach."""
        ...

    async def port_forward_url(self, request: f.PortForwardRequest) -> str:
        """Where to stream a port-forward."""
        ...

    def events(self) -> AsyncIterator[str]:
        """Ids of containers (and sandboxes) whose state changed, as it happens.

        Ends with `CriError` code 12 where the runtime has no such stream, `RuntimeUnavailable` when it breaks.
        """
        ...

    async def close(self) -> None:
        """End the connection."""
        ...
