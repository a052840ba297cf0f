"""kill -9 at every step of a pod's start, change and stop: afterwards everything is as it should be.

The steps of a story are found by a first telling; each is then a test: told again, killed there, started anew.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from octoedge.edge.edged.edged import Edged
from octoedge.edge.edged.eviction import Measured
from octoedge.edge.edged.pressure import Amount, EvictionSettings
from octoedge.protocol.resource import CLUSTER, Resource
from octoedge.testing.clock import run
from octoedge.testing.crash import Axe, Killed
from octoedge.testing.cri import Program
from octoedge.testing.csi import DirectoryDriver
from octoedge.testing.node import PlainMounter, World, container, deleting, is_running, plenty, pod, running

Json = dict[str, Any]
UID = "uid-web"
RUNTIME = (
    "run_sandbox", "stop_sandbox", "remove_sandbox", "create_container", "start_container", "stop_container",
    "remove_container", "exec_sync",
)  # fmt: skip
METADATA = ("report_pod_status", "delete_pod", "forget_pod", "create_pod")
MOUNTER = ("tmpfs", "bind", "unmount")
DRIVER = ("stage", "unstage", "publish", "unpublish")
SETTLED = 400.0
"""Virtual seconds in which everything must be well again."""


class Stage:
    """A node, what it is short of, and an axe over all that it does."""

    def __init__(self, root: Path) -> None:
        self.world = World(root)
        self.mounter = PlainMounter()
        self.world.runtime.programs[("once",)] = Program(seconds=1)
        self.world.runtime.programs[("fails",)] = Program(seconds=1, exit_code=1)
        self.driver = DirectoryDriver(root / "driver", self.mounter.hands)
        self.short = False
        self.revision = "1"

    async def measure(self) -> Measured:
        ample = await plenty()
        memory = Amount(10 << 20, 4 << 30) if self.short else ample.memory
        return msgspec.structs.replace(ample, memory=memory)

    @asynccontextmanager
    async def edged(self, axe: Axe) -> AsyncIterator[Edged]:
        world = self.world
        with axe.over_files():
            async with (
                running(
                    world.root,
                    axe.over(world.runtime, RUNTIME),
                    axe.over(world.metadata, METADATA),
                    world.clock,
                    mounter=axe.over(self.mounter, MOUNTER),
                    measure=self.measure,
                    manifests=world.root / "manifests",
                    connect_driver=lambda _: axe.over(self.driver, DRIVER),
                    eviction=EvictionSettings(hard={"memory.available": "100Mi"}, transition=1.0),
                ) as edged,
                asyncio.TaskGroup() as group,
            ):
                cloud = group.create_task(self._cloud(), name="cloud")
                # Drivers are pods too: they come after the agent.
                loop = asyncio.get_running_loop()
                later = loop.create_task(self._bring_driver(edged), name="driver")
                try:
                    yield edged
                finally:
                    cloud.cancel()
                    later.cancel()

    async def _bring_driver(self, edged: Edged) -> None:
        await asyncio.sleep(3)
        await edged.storage.drivers.register("dir.example.com", Path("csi.sock"), ("1.0.0",))

    async def _cloud(self) -> None:
        """Removes what the node reported as ended."""
        metadata = self.world.metadata
        while True:
            await asyncio.sleep(1)
            for resource, obj in list(metadata.objects.items()):
                uid = msgspec.json.decode(obj)["metadata"].get("uid")
                if any(known == uid for _, known in metadata.deleted):
                    await metadata.delete(resource)

    def echo(self) -> None:
        """The cloud has taken the last status, and the node has stored what came back."""
        for resource, obj in list(self.world.metadata.objects.items()):
            if resource.type == "pod":
                stored = msgspec.json.decode(obj)
                said = self.world.metadata.status(stored["metadata"]["uid"])
                stored["status"] = {**stored.get("status", {}), **said}
                self.world.metadata.objects[resource] = msgspec.json.encode(stored)

    def volume(self, kind: str, name: str) -> Path:
        return self.world.root / "kubelet/pods" / UID / "volumes" / f"kubernetes.io~{kind}" / name

    def names(self) -> list[str]:
        return sorted(c.config.metadata.name for c in self.world.runtime.running())


@dataclass(frozen=True)
class Story:
    """What happens, and what must be true in the end."""

    name: str
    act: Callable[[Stage, Edged], Awaitable[None]]
    right: Callable[[Stage], None]
    before: Callable[[Stage, Edged], Awaitable[None]] | None = None
    again: Callable[[Stage, Edged], Awaitable[None]] | None = None
    """What somebody does after the restart; None: nothing."""
    always: Callable[[Stage], None] = field(default=lambda stage: None)
    """True at once after the kill as well."""


# --- the stories ------------------------------------------------------------------------------------------------------


def rich(**spec: Any) -> Json:
    """A pod with something of everything."""
    volumes = [
        {"name": "page", "configMap": {"name": "page"}},
        {"name": "key", "secret": {"secretName": "key"}},
        {"name": "about", "downwardAPI": {"items": [{"path": "uid", "fieldRef": {"fieldPath": "metadata.uid"}}]}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "fast", "emptyDir": {"medium": "Memory"}},
    ]
    mounts = [{"name": volume["name"], "mountPath": f"/{volume['name']}"} for volume in volumes]
    hook = {"exec": {"command": ["true"]}}
    return pod(
        volumes=volumes,
        initContainers=[
            container("prepare", "once", volumeMounts=mounts),
            container("proxy", restartPolicy="Always", volumeMounts=mounts),
        ],
        containers=[
            container("main", volumeMounts=mounts, lifecycle={"postStart": hook, "preStop": hook}),
            container("beside", volumeMounts=mounts),
        ],
        terminationGracePeriodSeconds=5,
        **spec,
    )


def config(text: str) -> Json:
    return {"metadata": {"name": "page", "namespace": "default"}, "data": {"index.html": text, "more": "same"}}


async def store(stage: Stage) -> None:
    await stage.world.metadata.put("configmap", config("old"))
    await stage.world.metadata.put(
        "secret", {"metadata": {"name": "key", "namespace": "default"}, "data": {"key": "aHVudGVyMgo="}}
    )


async def put_rich(stage: Stage, _edged: Edged) -> None:
    await store(stage)
    await stage.world.metadata.put("pod", rich())


async def rich_runs(stage: Stage, edged: Edged) -> None:
    await put_rich(stage, edged)
    await until_runs(stage, edged)
    (stage.volume("empty-dir", "scratch") / "work").write_text("of hours")


async def until_runs(stage: Stage, edged: Edged) -> None:
    await stage.world.metadata.until_status(UID, is_running)
    await edged.sync.idle()


def each_once(stage: Stage, **times: int) -> None:
    """One sandbox, each container alive once, and started no more often than said (once)."""
    world = stage.world
    assert len(world.runtime.sandboxes) == 1, list(world.runtime.sandboxes)
    alive = Counter(c.config.metadata.name for c in world.runtime.running())
    assert set(alive.values()) <= {1}, alive
    for (_, name), count in world.runtime.starts.items():
        assert count == times.get(name, 1), f"{name} was started {count} times"


def volumes_are_whole(stage: Stage, *pages: str) -> None:
    assert (stage.volume("configmap", "page") / "index.html").read_text() in pages
    assert (stage.volume("configmap", "page") / "more").read_text() == "same"
    assert (stage.volume("downward-api", "about") / "uid").read_text() == UID
    assert (stage.world.root / "kubelet/volatile" / UID / "key/key").read_text() == "hunter2\n"
    assert stage.volume("empty-dir", "scratch").is_dir()


def rich_is_right(stage: Stage) -> None:
    assert stage.names() == ["beside", "main", "proxy"]
    each_once(stage)
    volumes_are_whole(stage, "old")
    status = stage.world.metadata.status(UID)
    assert is_running(status)
    assert [c["restartCount"] for c in status["containerStatuses"]] == [0, 0]


def work_is_there(stage: Stage) -> None:
    assert (stage.volume("empty-dir", "scratch") / "work").read_text() == "of hours"


def changed_is_right(stage: Stage) -> None:
    rich_runs_on(stage)
    volumes_are_whole(stage, "new")


def rich_runs_on(stage: Stage) -> None:
    assert stage.names() == ["beside", "main", "proxy"]
    each_once(stage)
    work_is_there(stage)


def nothing_is_left(stage: Stage) -> None:
    world = stage.world
    assert not world.runtime.sandboxes
    assert not world.runtime.containers
    left = [path for path in world.root.rglob("*") if "uid-" in path.name]
    assert left == [], left


def deleted_is_right(stage: Stage) -> None:
    nothing_is_left(stage)
    assert ("default/pod/web", UID) in stage.world.metadata.deleted


async def delete(stage: Stage, _edged: Edged) -> None:
    await stage.world.metadata.put("pod", deleting(rich(), 5))


async def forget(stage: Stage, _edged: Edged) -> None:
    if Resource("default", "pod", "web") in stage.world.metadata.objects:
        await stage.world.metadata.delete(Resource("default", "pod", "web"))


async def change(stage: Stage, _edged: Edged) -> None:
    await stage.world.metadata.put("configmap", config("new"))


async def debug(stage: Stage, _edged: Edged) -> None:
    await stage.world.metadata.put("pod", rich(ephemeralContainers=[container("debug")]))


def debugged_is_right(stage: Stage) -> None:
    assert stage.names() == ["beside", "debug", "main", "proxy"]
    each_once(stage)
    work_is_there(stage)
    [debugger] = stage.world.metadata.status(UID)["ephemeralContainerStatuses"]
    assert "running" in debugger["state"]


async def run_once(stage: Stage, _edged: Edged) -> None:
    await stage.world.metadata.put("pod", pod(restartPolicy="Never", containers=[container("main", "once")]))


def ran_once(stage: Stage) -> None:
    assert stage.world.runtime.starts == {(UID, "main"): 1}
    assert stage.world.metadata.status(UID)["phase"] == "Succeeded"


async def plain_runs(stage: Stage, edged: Edged) -> None:
    await stage.world.metadata.put("pod", pod())
    await until_runs(stage, edged)


async def crash(stage: Stage, _edged: Edged) -> None:
    stage.world.runtime.exit_container(stage.world.runtime.running()[0].id, 1)


def started_again(stage: Stage) -> None:
    assert stage.names() == ["main"]
    each_once(stage, main=2)
    status = stage.world.metadata.status(UID)
    assert is_running(status)
    assert status["containerStatuses"][0]["restartCount"] == 1


async def lose_sandbox(stage: Stage, _edged: Edged) -> None:
    stage.world.runtime.kill_sandbox(next(iter(stage.world.runtime.sandboxes)))


async def run_short(stage: Stage, _edged: Edged) -> None:
    stage.short = True


async def relieve(stage: Stage, _edged: Edged) -> None:
    if stage.world.metadata.status(UID).get("phase") == "Failed":
        stage.short = False


def evicted_is_right(stage: Stage) -> None:
    assert stage.names() == []
    assert stage.world.runtime.starts == {(UID, "main"): 1}
    status = stage.world.metadata.status(UID)
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")


async def hold_and_release(stage: Stage, edged: Edged) -> None:
    held = pod()
    held["metadata"]["annotations"] = {"edge.kubeedge.io/hold-upgrade": "true"}
    await stage.world.metadata.put("pod", held)
    await asyncio.sleep(5)
    edged.release("default", "web")


def plain_is_right(stage: Stage) -> None:
    assert stage.names() == ["main"]
    each_once(stage)
    assert is_running(stage.world.metadata.status(UID))


def manifest(stage: Stage) -> Path:
    return stage.world.root / "manifests/gate.json"


async def put_file(stage: Stage, _edged: Edged) -> None:
    obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "gate"}, "spec": {"containers": [container()]}}
    manifest(stage).parent.mkdir(exist_ok=True)
    manifest(stage).write_bytes(msgspec.json.encode(obj))


async def static_runs(stage: Stage, edged: Edged) -> None:
    await put_file(stage, edged)
    await stage.world.metadata.until_status("mirror-1", is_running)
    await edged.sync.idle()


def static_is_right(stage: Stage) -> None:
    assert stage.names() == ["main"]
    each_once(stage)
    assert is_running(stage.world.metadata.status("mirror-1"))
    assert stage.world.metadata.mirrors_made == 1


async def remove_file(stage: Stage, _edged: Edged) -> None:
    manifest(stage).unlink(missing_ok=True)


def static_is_gone(stage: Stage) -> None:
    nothing_is_left(stage)
    assert not list((stage.world.root / "kubelet/pods").iterdir())
    assert ("default/pod/gate-edge-1", "mirror-1") in stage.world.metadata.deleted


def with_csi() -> Json:
    """Two pods' worth of CSI: a volume that is staged, and one of the pod's own."""
    own = {"csi": {"driver": "dir.example.com", "volumeAttributes": {"a": "b"}}}
    volumes = [{"name": "own", **own}, {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    mounts = [{"name": volume["name"], "mountPath": f"/{volume['name']}"} for volume in volumes]
    return pod(volumes=volumes, containers=[container("main", volumeMounts=mounts)], terminationGracePeriodSeconds=5)


async def put_csi(stage: Stage, _edged: Edged) -> None:
    claim = {"namespace": "default", "name": "data", "uid": "claim-uid"}
    source = {"driver": "dir.example.com", "volumeHandle": "handle-1"}
    volume = {"metadata": {"name": "pv-1", "namespace": CLUSTER}, "spec": {"claimRef": claim, "csi": source}}
    bound = {"metadata": claim, "spec": {"volumeName": "pv-1"}, "status": {"phase": "Bound"}}
    rules = {"attachRequired": False, "volumeLifecycleModes": ["Persistent", "Ephemeral"]}
    about = {"metadata": {"name": "dir.example.com", "namespace": CLUSTER}, "spec": rules}
    for kind, obj in (("persistentvolumeclaim", bound), ("persistentvolume", volume), ("csidriver", about)):
        await stage.world.metadata.put(kind, obj)
    await stage.world.metadata.put("pod", with_csi())


async def csi_runs(stage: Stage, edged: Edged) -> None:
    await put_csi(stage, edged)
    await until_runs(stage, edged)


async def delete_csi(stage: Stage, _edged: Edged) -> None:
    await stage.world.metadata.put("pod", deleting(with_csi(), 5))


def csi_is_right(stage: Stage) -> None:
    plain_is_right(stage)
    folder = stage.world.root / "kubelet"
    assert len(stage.mounter.hands.mounts) == 3
    assert len(stage.mounter.below(folder / "plugins")) == 1
    assert stage.mounter.below(stage.volume("csi", "own")) == [stage.volume("csi", "own") / "mount"]
    assert stage.mounter.below(stage.volume("csi", "pv-1")) == [stage.volume("csi", "pv-1") / "mount"]


def csi_is_gone(stage: Stage) -> None:
    nothing_is_left(stage)
    assert stage.mounter.hands.mounts == {}
    assert list((stage.world.root / "kubelet/plugins").glob("**/globalmount")) == []


STORIES = (
    Story("start", put_rich, rich_is_right),
    Story("stop", delete, deleted_is_right, before=rich_runs),
    Story("forced deletion", forget, nothing_is_left, before=rich_runs),
    Story(
        "changed ConfigMap", change, changed_is_right, before=rich_runs,
        always=lambda stage: volumes_are_whole(stage, "old", "new"),
    ),
    Story("ephemeral container", debug, debugged_is_right, before=rich_runs, always=work_is_there),
    Story("run to completion", run_once, ran_once),
    Story("crash", crash, started_again, before=plain_runs),
    Story("lost sandbox", lose_sandbox, started_again, before=plain_runs),
    Story("eviction", run_short, evicted_is_right, before=plain_runs, again=relieve),
    Story("held upgrade", hold_and_release, plain_is_right, again=hold_and_release),
    Story("CSI volumes", put_csi, csi_is_right),
    Story("CSI volumes taken back", delete_csi, csi_is_gone, before=csi_runs),
    Story("CSI volumes of a pod that is forced away", forget, csi_is_gone, before=csi_runs),
    Story("static pod", put_file, static_is_right),
    Story("static pod removed", remove_file, static_is_gone, before=static_runs),
)  # fmt: skip
BY_NAME = {story.name: story for story in STORIES}


# --- telling them -----------------------------------------------------------------------------------------------------


async def tell(story: Story, root: Path, *kills: int | None, echo: bool = False) -> list[str]:
    """Tell a story, killed at these steps of its lives; the names of the steps of the first."""
    stage, first = Stage(root), [""]
    for life, at in enumerate(kills):
        axe = Axe((root / "kubelet", root / "logs"), (".log",))
        try:
            async with stage.edged(axe) as edged:
                if story.before is not None and life == 0:
                    await story.before(stage, edged)
                axe.arm(at)
                if life == 0:
                    await story.act(stage, edged)
                elif story.again is not None:
                    await story.again(stage, edged)
                await asyncio.sleep(SETTLED)
        except* Killed:
            pass
        if life == 0:
            first = axe.steps
        story.always(stage)
        if echo:
            stage.echo()
    async with stage.edged(Axe(())) as edged:
        if story.again is not None:
            await asyncio.sleep(20)
            await story.again(stage, edged)
        await asyncio.sleep(SETTLED)
        await edged.sync.idle()
    story.right(stage)
    return first


def steps(story: Story) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return len(run(tell(story, Path(folder), None)))


CASES = [
    pytest.param(story, number, id=f"{story.name}: {number + 1}") for story in STORIES for number in range(steps(story))
]
"""Numbers alone: what a step is called has a directory's order and a process's hashes in it."""


@pytest.mark.parametrize(("story", "number"), CASES)
def test_killed_at_any_step_it_ends_well(tmp_path: Path, story: Story, number: int) -> None:
    run(tell(story, tmp_path, number))


def test_the_steps_are_there() -> None:
    """What a start asks of others, in order: nothing is left out of the steps above."""
    with tempfile.TemporaryDirectory() as folder:
        names = run(tell(BY_NAME["start"], Path(folder), None))
    calls = [name for name in names if " " not in name]
    assert calls == [
        "report_pod_status", "tmpfs", "tmpfs", "run_sandbox", "report_pod_status",
        "create_container", "start_container", "report_pod_status", "report_pod_status",
        "create_container", "start_container", "report_pod_status",
        "create_container", "start_container", "exec_sync",
        "create_container", "start_container", "report_pod_status",
    ]  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=st.sampled_from(STORIES), kills=st.lists(st.integers(0, 90), min_size=2, max_size=4), echo=st.booleans())
def test_killed_again_and_again_it_ends_well(
    tmp_path_factory: pytest.TempPathFactory, story: Story, kills: list[int], echo: bool
) -> None:
    run(tell(story, tmp_path_factory.mktemp("node"), *kills, echo=echo))
