"""A control plane in one process and in virtual time: the real store, scheduler and controllers, nodes that pretend.

`ControlPlane` runs the modules of the API server without its HTTP side. Its nodes do what an edge does to the API: Pods
become Running and Ready one tick after they were bound, and are gone one tick after they were deleted. A node that is
cut off does neither. `restart()` is kill -9: everything stops where it is, and a new process starts from the file.
`crash_after(n)` kills it right after the n-th commit from now, before anybody has heard of it; it then starts again.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from octoedge.apiserver.controllers.bootstrap import Bootstrap
from octoedge.apiserver.controllers.namespaces import NamespaceController
from octoedge.apiserver.controllers.node_lifecycle import LEASE_NAMESPACE, LEASES, NodeLifecycle
from octoedge.apiserver.controllers.turn import Hands
from octoedge.apiserver.controllers.workloads import workload_controllers
from octoedge.apiserver.kinds import Kind, Kinds
from octoedge.apiserver.scheduling.scheduler import Scheduler
from octoedge.apiserver.schema.bodies import Bodies, Findings
from octoedge.apiserver.schema.schema import Schema
from octoedge.apiserver.store.backend import Backend, Put
from octoedge.apiserver.writing.deletion import DeleteOptions, Deletion
from octoedge.apiserver.writing.rest import Place, Rest
from octoedge.errors import ApiError
from octoedge.kube.read import Change
from octoedge.runtime.clock import rfc3339
from octoedge.runtime.supervisor import Supervisor
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.inline import InlineDatabase

Json = dict[str, Any]
T = TypeVar("T")
Outcome = Callable[[Json], str]
"""How a Pod ends: Succeeded, Failed, or nothing while it runs on."""

READY = {"type": "Ready", "status": "True"}
TICK = 1.0
HEARTBEAT = 10.0
PATIENCE = 30 * 86400.0


class Crash:
    """When the process is to die."""

    def __init__(self) -> None:
        self.countdown = 0
        self.happened = asyncio.Event()


class FragileDatabase(InlineDatabase):
    """After the commit in which the process dies nothing is written any more, and nobody is answered."""

    crash: Crash

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        result = await super().write(work)
        if self.crash.countdown:
            self.crash.countdown -= 1
            if not self.crash.countdown:
                self.crash.happened.set()
                await asyncio.Event().wait()
        return result


class ControlPlane:
    """The control plane, and what tests do with it as a user would."""

    def __init__(
        self, path: Path, nodes: Iterable[str] = ("edge-1", "edge-2", "edge-3"), *, heartbeats: bool = False
    ) -> None:
        self._path = path
        self._heartbeats = heartbeats
        """Whether nodes renew leases, and are Unknown when they do not; costly in stories that last for days."""
        self.nodes = tuple(nodes)
        self.cut_off: set[str] = set()
        self.broken: Callable[[Json], bool] = lambda _: False
        """Which Pods never become Ready."""
        self.outcome: Outcome = lambda _: ""
        self.changes: list[Change] = []
        """Every change of every Pod, as it was seen."""
        self.watchers: list[Callable[[Change], None]] = []
        self.starts = 0
        self.epoch_shift = 0.0
        """Seconds by which the wall clock is ahead at the next start."""
        self._address = 0
        self._task: asyncio.Task[None] | None = None
        self._schema = Schema.load()
        self._crash = Crash()

    def crash_after(self, commits: int) -> None:
        """Kill the process right after so many commits from now."""
        self._crash.countdown = commits

    async def crashed(self) -> None:
        """Return when that has happened and a new process runs."""
        await self._crash.happened.wait()
        self._crash.happened.clear()
        await self.restart()

    async def start(self) -> None:
        """Start the process."""
        self.starts += 1
        clock = VirtualClock()
        clock.shift(self.epoch_shift)
        self.clock = clock
        self.kinds = Kinds()
        database = type("Database", (FragileDatabase,), {"crash": self._crash})
        self.backend = Backend(self._path / "state.db", self.kinds.fields_of, database=database)
        self.rest = Rest(self.backend, Bodies(self._schema), clock)
        self.deletion = Deletion(self.backend, clock)
        hands = Hands(self.rest, self.deletion, self.kinds, clock)
        supervisor = Supervisor(
            [
                self.backend,
                Bootstrap(self.rest, self.kinds, lambda: "a certificate", clock),
                Scheduler(hands),
                NamespaceController(self.rest, self.deletion, self.kinds),
                *workload_controllers(hands),
                *([NodeLifecycle(self.backend, clock)] if self._heartbeats else []),
            ]
        )
        self._task = asyncio.get_running_loop().create_task(self._live(supervisor), name="control plane")
        await supervisor.all_ready()
        for name in self.nodes:
            if self.backend.get("nodes", "", name) is None:
                await self.create(node(name))

    async def _live(self, supervisor: Supervisor) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(supervisor.run(), name="supervisor")
            group.create_task(self._edge(), name="edge")
            group.create_task(self._record(), name="record")

    async def stop(self) -> None:
        """Stop as if killed."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
            self.backend.close()

    async def restart(self) -> None:
        """kill -9, and a new process."""
        await self.stop()
        await self.start()

    async def survive(self, story: Callable[[ControlPlane], Awaitable[None]]) -> None:
        """Tell a story; when the control plane dies of an error, that error ends it."""
        try:
            async with asyncio.timeout(PATIENCE):
                await story(self)
        except TimeoutError:
            if self._task is not None and self._task.done():
                self._task.result()
            raise

    async def create(self, *objects: Json) -> None:
        """Create objects, decoded and checked as those that clients send."""
        for obj in objects:
            kind = self.kind_of(obj)
            namespace = obj["metadata"].get("namespace") or ("default" if kind.namespaced else "")
            checked = self.rest.bodies.checked(kind, obj, {"fieldValidation": "Strict"}, Findings())
            await self.rest.create(Place(kind, namespace), checked, {})

    async def edit(self, resource: str, name: str, change: Callable[[Json], Any], subresource: str = "") -> None:
        """Change an object in place."""

        def apply(obj: Json) -> Json:
            change(obj)
            return obj

        await self.rest.edit(self.place(resource, name, subresource=subresource), apply, {})

    async def delete(self, resource: str, name: str, policy: str = "Background", grace: int | None = None) -> None:
        """Delete an object."""
        await self.deletion.delete(self.place(resource, name), DeleteOptions(policy=policy, grace=grace))

    def get(self, resource: str, name: str, namespace: str = "default") -> Json:
        """An object; empty when there is none."""
        kind = self.kinds.named(resource)
        item = self.backend.get(resource, namespace if kind.namespaced else "", name)
        found: Json = msgspec.json.decode(item.data) if item is not None else {}
        return found

    def all(self, resource: str, namespace: str = "") -> list[Json]:
        """All objects of a resource."""
        return [msgspec.json.decode(item.data) for item in self.backend.items(resource, namespace)]

    def living(self) -> list[Json]:
        """Pods that have not ended and are not being deleted."""
        return [pod for pod in self.all("pods") if is_living(pod)]

    def told(self) -> list[str]:
        """The reasons and messages of all events."""
        return [f"{one['reason']}: {one['message']}" for one in self.all("events")]

    async def until(self, what: Callable[[], object], within: float = 300) -> None:
        """Wait until something holds."""
        for _ in range(int(within / TICK)):
            if what():
                return
            if self._task is not None and self._task.done():
                self._task.result()
            await asyncio.sleep(TICK)
        raise AssertionError(f"it did not happen within {within} s: {[_short(pod) for pod in self.all('pods')]}")

    def kind_of(self, obj: Json) -> Kind:
        """The kind of an object."""
        kind = self.kinds.of_object(obj["apiVersion"], obj["kind"])
        assert kind is not None, obj["kind"]
        return kind

    def place(self, resource: str, name: str, namespace: str = "default", subresource: str = "") -> Place:
        """Where an object is."""
        kind = self.kinds.named(resource)
        return Place(kind, namespace if kind.namespaced else "", name, subresource)

    async def _record(self) -> None:
        cursor = self.backend.follow("pods", self.backend.version)
        while True:
            for change in await cursor.next():
                self.changes.append(change)
                for watcher in self.watchers:
                    watcher(change)

    async def _edge(self) -> None:
        loop = asyncio.get_running_loop()
        beat = loop.time()
        while True:
            await asyncio.sleep(TICK)
            if self._heartbeats and loop.time() >= beat:
                beat = loop.time() + HEARTBEAT
                for name in self.nodes:
                    if name not in self.cut_off:
                        await self._beat(name)
            for pod in self.all("pods"):
                home = pod["spec"].get("nodeName")
                if not home or home in self.cut_off or home not in self.nodes:
                    continue
                try:
                    await self._tend(pod)
                except ApiError as error:
                    if error.code not in (404, 409):
                        raise

    async def _beat(self, name: str) -> None:
        about = {"name": name, "namespace": LEASE_NAMESPACE, "uid": f"lease-{name}"}
        lease = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": about}
        await self.backend.change(lambda _: [Put(LEASES, lease)])
        found = self.get("nodes", name)
        if found and found["status"]["conditions"][0]["status"] != "True":
            await self.edit("nodes", name, lambda obj: obj["status"].update(conditions=[dict(READY)]), "status")

    async def _tend(self, pod: Json) -> None:
        about, name = pod["metadata"], pod["metadata"]["name"]
        place = Place(self.kinds.named("pods"), about["namespace"], name)
        if about.get("deletionTimestamp"):
            await self.deletion.delete(place, DeleteOptions(grace=0, uid=about["uid"]))
            return
        phase, outcome = pod["status"].get("phase"), self.outcome(pod)
        if phase in ("Succeeded", "Failed") or (phase == "Running" and not outcome):
            return
        status = Place(place.kind, place.namespace, name, "status")
        await self.rest.edit(status, lambda obj: self._report(obj, outcome), {})

    def _report(self, pod: Json, outcome: str) -> Json:
        """What the node says of a Pod that started or ended."""
        self._address += 1
        ready = not outcome and not self.broken(pod)
        stamp = rfc3339(self.clock.now())
        condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": stamp}
        others = [one for one in pod["status"].get("conditions") or [] if one["type"] != "Ready"]
        address = pod["status"].get("podIP") or f"10.0.{self._address // 250}.{self._address % 250 + 1}"
        pod["status"] |= {"phase": outcome or "Running", "conditions": [*others, condition], "podIP": address}
        if outcome:
            ended = {"exitCode": int(outcome == "Failed"), "finishedAt": stamp}
            statuses = [{"name": "c", "state": {"terminated": ended}, "image": "", "imageID": "", "restartCount": 0}]
            pod["status"]["containerStatuses"] = statuses
        return pod


def simulate(
    path: Path,
    story: Callable[[ControlPlane], Awaitable[None]],
    nodes: Sequence[str] = ("edge-1", "edge-2", "edge-3"),
    *,
    heartbeats: bool = False,
) -> None:
    """Tell a story in virtual time."""

    async def main() -> None:
        plane = ControlPlane(path, nodes, heartbeats=heartbeats)
        await plane.start()
        try:
            await plane.survive(story)
        finally:
            await plane.stop()

    run(main())


def node(name: str, pods: int = 110) -> Json:
    """A Ready Node."""
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "allocatable": {"cpu": "64", "memory": "64Gi", "pods": str(pods)},
            "conditions": [dict(READY)],
        },
    }


def template(app: str, image: str = "i:1", **spec: Any) -> Json:
    """A Pod template."""
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c", "image": image}], **spec}}


def workload(kind: str, name: str, *, image: str = "i:1", api_version: str = "apps/v1", **spec: Any) -> Json:
    """A Deployment, ReplicaSet, StatefulSet or DaemonSet."""
    selected = {"selector": {"matchLabels": {"app": name}}, "template": template(name, image)}
    return {"kind": kind, "apiVersion": api_version, "metadata": {"name": name}, "spec": {**selected, **spec}}


def is_living(pod: Json) -> bool:
    """Whether it has not ended and is not being deleted."""
    return pod["status"].get("phase") not in ("Succeeded", "Failed") and not pod["metadata"].get("deletionTimestamp")


def is_ready(pod: Json) -> bool:
    """Whether its Ready condition is True."""
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions") or [])


def _short(pod: Json) -> str:
    return f"{pod['metadata']['name']} on {pod['spec'].get('nodeName')}: {pod['status'].get('phase')}"
