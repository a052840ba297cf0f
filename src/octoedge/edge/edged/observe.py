"""Looks at the runtime: all pods of this node as plain objects, and which of them changed since the last look.

    list sandboxes + list containers ──► only what is new or changed is asked for in full ──► PodSeen by uid

Two lists a look, of what bears this node's label; details are remembered by id until the state changes.
"""

from __future__ import annotations

from collections.abc import Iterable

from octoedge.edge.edged import names
from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.cri.fields import ContainerState, SandboxState
from octoedge.edge.edged.cri.interface import NOT_FOUND, ContainerRuntime
from octoedge.edge.edged.observed import ContainerSeen, PodSeen, SandboxSeen
from octoedge.errors import CriError


class Observer:
    """What the runtime has of this node's pods."""

    def __init__(self, runtime: ContainerRuntime, node_name: str) -> None:
        self._runtime = runtime
        self._labels = {names.NODE: node_name}
        self._sandboxes: dict[str, SandboxSeen] = {}
        self._containers: dict[str, ContainerSeen] = {}
        self.pods: dict[str, PodSeen] = {}

    async def look(self) -> set[str]:
        """Look at everything; uids of pods that changed. Raises as the runtime does."""
        found = await self._all(self._labels)
        changed = {uid for uid in self.pods.keys() | found.keys() if self.pods.get(uid) != found.get(uid)}
        self.pods = found
        self._forget_but(found.values())
        return changed

    async def look_at(self, uid: str) -> PodSeen:
        """Look at one pod."""
        found = await self._all({**self._labels, names.POD_UID: uid})
        seen = found.get(uid)
        if seen is None:
            self.pods.pop(uid, None)
            return PodSeen(uid)
        self.pods[uid] = seen
        return seen

    async def _all(self, labels: dict[str, str]) -> dict[str, PodSeen]:
        sandboxes = await self._runtime.list_sandboxes(labels)
        containers = await self._runtime.list_containers(labels)
        by_pod: dict[str, tuple[list[SandboxSeen], list[ContainerSeen]]] = {}
        meta: dict[str, tuple[str, str]] = {}
        for listed in sandboxes:
            uid = listed.metadata.uid
            meta[uid] = (listed.metadata.namespace, listed.metadata.name)
            by_pod.setdefault(uid, ([], []))[0].append(await self._sandbox(listed))
        for item in containers:
            uid = item.labels.get(names.POD_UID, "")
            meta.setdefault(uid, (item.labels.get(names.POD_NAMESPACE, ""), item.labels.get(names.POD_NAME, "")))
            container = await self._container(item)
            if container is not None:
                by_pod.setdefault(uid, ([], []))[1].append(container)
        return {uid: _pod(uid, *meta[uid], *parts) for uid, parts in by_pod.items()}

    async def _sandbox(self, listed: f.Sandbox) -> SandboxSeen:
        ready = listed.state == SandboxState.READY
        known = self._sandboxes.get(listed.id)
        if known is not None and known.ready == ready:
            return known
        ips: tuple[str, ...] = known.ips if known is not None else ()
        if ready or known is None:
            try:
                network = (await self._runtime.sandbox_status(listed.id)).network
            except CriError as error:
                if error.code != NOT_FOUND:
                    raise
                network, ready = None, False
            if network is not None and network.ip:
                ips = (network.ip, *(extra.ip for extra in network.additional_ips))
        seen = SandboxSeen(listed.id, listed.metadata.attempt, ready, listed.created_at, ips)
        self._sandboxes[listed.id] = seen
        return seen

    async def _container(self, listed: f.Container) -> ContainerSeen | None:
        known = self._containers.get(listed.id)
        if known is not None and known.state == listed.state:
            return known
        try:
            status = await self._runtime.container_status(listed.id)
        except CriError as error:
            if error.code == NOT_FOUND:
                return None
            raise
        seen = container_seen(listed.pod_sandbox_id, status)
        self._containers[listed.id] = seen
        return seen

    def _forget_but(self, pods: Iterable[PodSeen]) -> None:
        """Drop details of what is no longer there."""
        pods = list(pods)
        sandboxes = {sandbox.id for pod in pods for sandbox in pod.sandboxes}
        containers = {container.id for pod in pods for container in pod.containers}
        self._sandboxes = {key: value for key, value in self._sandboxes.items() if key in sandboxes}
        self._containers = {key: value for key, value in self._containers.items() if key in containers}


def container_seen(sandbox_id: str, status: f.ContainerStatus) -> ContainerSeen:
    """A container's status as decisions look at it."""
    notes = status.annotations
    return ContainerSeen(
        id=status.id,
        sandbox_id=sandbox_id,
        name=status.labels.get(names.CONTAINER_NAME) or status.metadata.name,
        attempt=status.metadata.attempt,
        state=ContainerState(status.state),
        created_at=status.created_at,
        started_at=status.started_at,
        finished_at=status.finished_at,
        exit_code=status.exit_code,
        reason=status.reason,
        message=status.message,
        image=status.image.image,
        image_ref=status.image_ref,
        spec_hash=notes.get(names.HASH, ""),
        grace=_number(notes.get(names.GRACE, ""), 30),
        log_path=status.log_path,
        termination_path=notes.get(names.TERMINATION_PATH, ""),
        termination_policy=notes.get(names.TERMINATION_POLICY, ""),
    )


def _pod(uid: str, namespace: str, name: str, sandboxes: list[SandboxSeen], containers: list[ContainerSeen]) -> PodSeen:
    return PodSeen(
        uid,
        namespace,
        name,
        tuple(sorted(sandboxes, key=lambda s: (s.attempt, s.created_at), reverse=True)),
        # By attempt first: after a clock that was set back, a new container looks older than the one it replaces.
        tuple(sorted(containers, key=lambda c: (c.attempt, c.created_at), reverse=True)),
    )


def _number(text: str, default: int) -> int:
    return int(text) if text.isdigit() else default
