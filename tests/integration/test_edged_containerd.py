"""Edged on a real containerd of its own: pods become processes, survive edged, and leave nothing."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from octoedge.edge.edged.cgroups import Cgroups
from octoedge.edge.edged.cri.client import CriClient
from octoedge.edge.edged.edged import Edged
from octoedge.edge.edged.machine import default_address
from octoedge.edge.edged.mounts import SystemMounter, mounted_below
from octoedge.edge.ports import LogRequest
from octoedge.keadm import image
from octoedge.protocol.resource import CLUSTER, Resource
from octoedge.runtime.clock import SystemClock
from octoedge.runtime.mountinfo import mounted
from octoedge.testing.crash import Axe, Killed
from octoedge.testing.eventually import comes_true
from octoedge.testing.lifecycle import IMAGE, check_runtime
from octoedge.testing.metadata import MemoryMetadata
from octoedge.testing.node import container, deleting, pod, running

CGROUP_ROOT = "/octoedge-test-d"
BRIDGE, SUBNET, GATEWAY = "octotest-d", "10.88.241.0/24", "10.88.241.1"
HOST_PORT, WEB_PORT = 19080, 19081

pytestmark = [
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("containerd") or not shutil.which("runc"),
        reason="needs root, containerd and runc",
    ),
    pytest.mark.xdist_group("containerd-d"),
]


class Containerd:
    """A containerd with its own root, state, socket, network and images."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.socket = home / "c.sock"
        self.process: subprocess.Popen[bytes] | None = None
        self._write_config()

    def start(self) -> None:
        command = ["containerd", "--config", str(self.home / "config.toml"), "--root", str(self.home / "root")]
        command += ["--state", str(self.home / "state"), "--address", str(self.socket)]
        with open(self.home / "containerd.log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while self.ctr("version").returncode != 0:
            assert time.monotonic() < deadline, (self.home / "containerd.log").read_text()[-2000:]
            time.sleep(0.05)

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(20)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(20)

    def ctr(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["ctr", "-a", str(self.socket), "-n", "k8s.io", *words], capture_output=True, check=False)

    def _write_config(self) -> None:
        net = self.home / "net.d"
        net.mkdir()
        ranges, routes = [[{"subnet": SUBNET}]], [{"dst": "0.0.0.0/0"}]
        ipam = {"type": "host-local", "dataDir": str(self.home / "ipam"), "ranges": ranges, "routes": routes}
        # The bridge is made beforehand: as a gateway the plugin would switch on forwarding in the kernel.
        bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": False, "ipMasq": False, "ipam": ipam}
        portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
        (net / "10-test.conflist").write_text(
            json.dumps({"cniVersion": "0.4.0", "name": "octotest", "plugins": [bridge, portmap]})
        )
        bin_dir = next(d for d in ("/usr/lib/cni", "/opt/cni/bin") if Path(d, "bridge").exists())
        (self.home / "config.toml").write_text(
            'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n'
            '  sandbox_image = "octoedge.local/pause:1"\n  restrict_oom_score_adj = true\n'
            f'  [plugins."io.containerd.grpc.v1.cri".cni]\n    bin_dir = "{bin_dir}"\n    conf_dir = "{net}"\n'
        )


@pytest.fixture(scope="module")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    runtime = Containerd(tmp_path_factory.mktemp("containerd"))
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", f"{GATEWAY}/24", "dev", BRIDGE], check=True)
        subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
        runtime.start()
        for tar in _images(runtime.home):
            done = runtime.ctr("images", "import", str(tar))
            assert done.returncode == 0, done.stderr
        yield runtime
    finally:
        if runtime.process is not None:
            asyncio.run(_remove_all(runtime))
            runtime.stop()
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)
        for point in [point for point in reversed(mounted()) if point.startswith(str(runtime.home))]:
            subprocess.run(["umount", "-l", point], capture_output=True, check=False)
        _remove_cgroups()


async def _remove_all(containerd: Containerd) -> None:
    """What a failed test has left running."""
    runtime = CriClient(str(containerd.socket))
    try:
        for sandbox in await runtime.list_sandboxes({}):
            await runtime.stop_sandbox(sandbox.id)
            await runtime.remove_sandbox(sandbox.id)
    finally:
        await runtime.close()


def _images(home: Path) -> list[Path]:
    """A busybox and a pause image, built on the spot."""
    busybox = image.read_busybox()
    files: list[Path] = []
    for made in (image.pause(busybox), replace(image.hello(busybox), name=IMAGE, entrypoint=())):
        files.append(home / f"{len(files)}.tar")
        files[-1].write_bytes(image.archive(made))
    return files


def _remove_cgroups() -> None:
    cgroups = Cgroups()
    deadline = time.monotonic() + 30
    while not asyncio.run(cgroups.remove(CGROUP_ROOT)):
        assert time.monotonic() < deadline, "processes are left in the cgroups of the test"
        time.sleep(0.05)


def pod_cgroups() -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"*{CGROUP_ROOT}/*/pod*"))


def scenario(
    containerd: Containerd,
    root: Path,
    body: Callable[[MemoryMetadata, Edged], Awaitable[None]],
    *,
    unmount: bool = True,
    **changes: Any,
) -> None:
    """Run `body` with an edged on the real runtime."""

    async def main() -> None:
        clock = SystemClock()
        metadata = MemoryMetadata(clock)
        runtime = CriClient(str(containerd.socket))
        settings: dict[str, Any] = {"cgroup_root": CGROUP_ROOT, "cgroup_mount": Path("/sys/fs/cgroup"), **changes}
        async with running(root, runtime, metadata, clock, mounter=SystemMounter(), **settings) as edged:
            await body(metadata, edged)

    try:
        asyncio.run(main())
    finally:
        for point in mounted_below(root) if unmount else ():
            subprocess.run(["umount", str(point)], capture_output=True, check=False)


def is_running(status: dict[str, Any]) -> bool:
    return status.get("phase") == "Running" and all(c["ready"] for c in status["containerStatuses"])


def on_host(name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return pod(name, hostNetwork=True, terminationGracePeriodSeconds=1, containers=list(containers), **spec)


async def gone(metadata: MemoryMetadata, obj: dict[str, Any]) -> None:
    """Delete a pod and wait until it has ended."""
    meta = obj["metadata"]
    await metadata.put("pod", deleting(obj, 1))
    await metadata.until_deleted(meta["uid"], 40)
    await metadata.delete(Resource("default", "pod", meta["name"]))


async def text_of(edged: Edged, pod_name: str, container_name: str = "main", **options: Any) -> str:
    stream = await edged.logs(LogRequest("default", pod_name, container_name, **options))
    return b"".join([chunk async for chunk in stream]).decode()


def test_containerd_behaves_like_a_runtime(containerd: Containerd, tmp_path: Path) -> None:
    async def main() -> None:
        runtime = CriClient(str(containerd.socket))
        try:
            await check_runtime(runtime, tmp_path)
        finally:
            await runtime.close()

    asyncio.run(main())


def test_a_pod_with_a_config_map_serves_it_and_leaves_nothing(containerd: Containerd, tmp_path: Path) -> None:
    async def body(metadata: MemoryMetadata, edged: Edged) -> None:
        page = {"metadata": {"name": "page", "namespace": "default"}, "data": {"index.html": "one"}}
        await metadata.put("configmap", page)
        web = container(
            "main", "/bin/httpd", "-f", "-p", str(WEB_PORT), "-h", "/www",
            volumeMounts=[{"name": "page", "mountPath": "/www"}],
            readinessProbe={"httpGet": {"port": WEB_PORT, "host": "127.0.0.1"}, "periodSeconds": 1},
        )  # fmt: skip
        obj = on_host("web", web, volumes=[{"name": "page", "configMap": {"name": "page"}}])
        await metadata.put("pod", obj)
        status = await metadata.until_status("uid-web", is_running, 40)
        assert status["podIP"] == status["hostIP"] == "192.0.2.7"
        assert await _fetch(WEB_PORT) == "one"
        await metadata.put("configmap", {**page, "data": {"index.html": "two"}})
        async with asyncio.timeout(30):
            while await _fetch(WEB_PORT) != "two":  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await gone(metadata, obj)
        assert not list((tmp_path / "kubelet/pods").iterdir())
        assert pod_cgroups() == []
        assert containerd.ctr("containers", "ls", "-q").stdout.split() == []

    scenario(containerd, tmp_path, body)


async def _fetch(port: int, host: str = "127.0.0.1") -> str:
    def get() -> str:
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"http://{host}:{port}/", timeout=5) as answer:
                    return str(answer.read().decode())
            except urllib.error.URLError:
                # The server in the container may need a moment after its start.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    return await asyncio.to_thread(get)


def test_a_restart_of_edged_and_of_containerd_leaves_containers_alone(containerd: Containerd, tmp_path: Path) -> None:
    obj = on_host("stays", container("main", "/bin/sleep", "1000"))
    started: list[str] = []

    def started_at(metadata: MemoryMetadata) -> str:
        return str(metadata.status("uid-stays")["containerStatuses"][0]["state"]["running"]["startedAt"])

    async def first(metadata: MemoryMetadata, edged: Edged) -> None:
        await metadata.put("pod", obj)
        await metadata.until_status("uid-stays", is_running, 40)
        started.append(started_at(metadata))

    async def second(metadata: MemoryMetadata, edged: Edged) -> None:
        await metadata.put("pod", obj)
        await metadata.until_status("uid-stays", is_running, 40)
        assert [started_at(metadata)] == started
        containerd.kill()
        await asyncio.sleep(0.5)
        containerd.start()
        await asyncio.sleep(2)
        [seen] = edged.observer.pods.values()
        assert len(seen.containers) == 1
        assert [started_at(metadata)] == started
        await gone(metadata, obj)

    scenario(containerd, tmp_path, first)
    scenario(containerd, tmp_path, second)


def test_what_users_ask_of_a_container_is_so_inside(containerd: Containerd, tmp_path: Path) -> None:
    script = (
        "id -u; id -g; echo $GREETING-$MY_POD; cat /secret/password; hostname; "
        "grep -c managed /etc/hosts; touch /x 2>/dev/null || echo readonly; grep NoNewPrivs /proc/self/status; "
        "cat /token/token; echo; ls -ld /scratch | cut -c1-10; printf bye > /dev/termination-log"
    )

    async def body(metadata: MemoryMetadata, edged: Edged) -> None:
        secret = {"metadata": {"name": "s", "namespace": "default"}, "data": {"password": "aHVudGVyMgo="}}
        await metadata.put("secret", secret)
        asked = container(
            "main", "/bin/sh", "-c", script,
            env=[
                {"name": "NAME", "value": "hello"},
                {"name": "GREETING", "value": "$(NAME)"},
                {"name": "MY_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ],
            securityContext={
                "runAsUser": 1000, "runAsGroup": 1000, "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
            },
            resources={"limits": {"memory": "64Mi", "cpu": "500m"}},
            volumeMounts=[
                {"name": "s", "mountPath": "/secret"},
                {"name": "t", "mountPath": "/token"},
                {"name": "e", "mountPath": "/scratch"},
            ],
        )  # fmt: skip
        volumes = [
            {"name": "s", "secret": {"secretName": "s"}},
            {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            {"name": "e", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        ]
        obj = pod("inside", restartPolicy="Never", containers=[asked], volumes=volumes)
        await metadata.put("pod", obj)
        status = await metadata.until_status("uid-inside", lambda s: s.get("phase") in ("Succeeded", "Failed"), 20)
        lines = (await text_of(edged, "inside")).splitlines()
        assert lines == [
            "1000", "1000", "hello-inside", "hunter2", "inside", "1", "readonly", "NoNewPrivs:\t1",
            "token-1-of-default-default", "drwxrwxrwx",
        ]  # fmt: skip
        ended = status["containerStatuses"][0]["state"]["terminated"]
        assert (ended["exitCode"], ended["message"]) == (0, "bye")
        assert status["podIP"].startswith("10.88.241.")
        assert status["qosClass"] == "BestEffort"
        assert str(tmp_path / "kubelet/volatile") in mounted()
        await gone(metadata, obj)
        assert not [point for point in mounted() if point.startswith(str(tmp_path))]

    scenario(containerd, tmp_path, body)


def test_a_host_port_reaches_the_pod(containerd: Containerd, tmp_path: Path) -> None:
    async def body(metadata: MemoryMetadata, edged: Edged) -> None:
        ports = [{"containerPort": 80, "hostPort": HOST_PORT}]
        web = container("main", "/bin/httpd", "-f", "-p", "80", "-h", "/www", ports=ports)
        obj = pod("port", terminationGracePeriodSeconds=1, containers=[web])
        await metadata.put("pod", obj)
        status = await metadata.until_status("uid-port", is_running, 40)
        [seen] = edged.observer.pods.values()
        assert seen.sandboxes[0].ips == (status["podIP"],)
        assert await _fetch(80, status["podIP"]) == "hello from a container\n"
        assert await _fetch(HOST_PORT, default_address()) == "hello from a container\n"
        await gone(metadata, obj)

    scenario(containerd, tmp_path, body)


def test_a_crash_is_seen_at_once_and_the_previous_log_can_be_read(containerd: Containerd, tmp_path: Path) -> None:
    async def body(metadata: MemoryMetadata, edged: Edged) -> None:
        obj = on_host("crash", container("main", "/bin/sh", "-c", "echo run; exit 5"))
        await metadata.put("pod", obj)

        def looping(status: dict[str, Any]) -> bool:
            state = status.get("containerStatuses", [{}])[0].get("state", {})
            return bool(state.get("waiting", {}).get("reason") == "CrashLoopBackOff")

        status = await metadata.until_status("uid-crash", looping, 40)
        assert status["containerStatuses"][0]["restartCount"] == 1
        assert status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 5
        assert await text_of(edged, "crash") == "run\n"
        assert await text_of(edged, "crash", previous=True) == "run\n"
        await gone(metadata, obj)

    scenario(containerd, tmp_path, body)


def test_logs_are_followed_to_the_end(containerd: Containerd, tmp_path: Path) -> None:
    async def body(metadata: MemoryMetadata, edged: Edged) -> None:
        script = "for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done"
        obj = on_host("follow", container("main", "/bin/sh", "-c", script), restartPolicy="Never")
        await metadata.put("pod", obj)
        await metadata.until_status("uid-follow", is_running, 40)
        text = await text_of(edged, "follow", follow=True)
        assert text.splitlines() == [f"line {i}" for i in range(1, 6)]
        assert (await text_of(edged, "follow", tail_lines=2)).splitlines() == ["line 4", "line 5"]
        await gone(metadata, obj)

    scenario(containerd, tmp_path, body)


def test_an_image_that_cannot_be_pulled_says_why(containerd: Containerd, tmp_path: Path) -> None:
    async def body(metadata: MemoryMetadata, edged: Edged) -> None:
        obj = on_host("pull", container("main", image="127.0.0.1:19999/none:1"))
        await metadata.put("pod", obj)

        def refused(status: dict[str, Any]) -> bool:
            state = status.get("containerStatuses", [{}])[0].get("state", {})
            return bool(state.get("waiting", {}).get("reason") == "ErrImagePull")

        status = await metadata.until_status("uid-pull", refused, 40)
        assert "127.0.0.1:19999" in status["containerStatuses"][0]["state"]["waiting"]["message"]
        await gone(metadata, obj)

    scenario(containerd, tmp_path, body)


STARTING = ("run_sandbox", "create_container", "start_container")
STOPPING = ("stop_container", "stop_sandbox", "remove_sandbox")


@pytest.mark.parametrize("step", [f"{call}, {when}" for call in STARTING for when in ("under way", "no answer")])
def test_killed_while_a_pod_starts_it_runs_once(containerd: Containerd, tmp_path: Path, step: str) -> None:
    obj = pod("kill", terminationGracePeriodSeconds=1, containers=[container("main", "/bin/sleep", "1000")])

    async def again(metadata: MemoryMetadata, edged: Edged) -> None:
        await metadata.put("pod", obj)
        status = await metadata.until_status("uid-kill", is_running, 40)
        # A start that is broken off leaves a container that has ended: what runs then is the second of its name.
        assert status["containerStatuses"][0]["restartCount"] <= (step == "start_container, under way")
        assert len(containerd.ctr("tasks", "ls", "-q").stdout.split()) == 2
        await asyncio.sleep(0.5)
        [seen] = edged.observer.pods.values()
        assert [one.ready for one in seen.sandboxes] == [True]
        assert len([one for one in seen.containers if one.alive]) == 1
        await gone(metadata, obj)
        nothing_is_left(containerd, tmp_path)

    asyncio.run(killed(containerd, tmp_path, obj, step, deleted=False))
    scenario(containerd, tmp_path, again)


@pytest.mark.parametrize("step", [f"{call}, {when}" for call in STOPPING for when in ("under way", "no answer")])
def test_killed_while_a_pod_ends_it_leaves_nothing(containerd: Containerd, tmp_path: Path, step: str) -> None:
    obj = pod("kill", terminationGracePeriodSeconds=1, containers=[container("main", "/bin/sleep", "1000")])

    async def again(metadata: MemoryMetadata, edged: Edged) -> None:
        await gone(metadata, obj)
        nothing_is_left(containerd, tmp_path)

    asyncio.run(killed(containerd, tmp_path, obj, step, deleted=True))
    scenario(containerd, tmp_path, again)


async def killed(containerd: Containerd, root: Path, obj: dict[str, Any], step: str, *, deleted: bool) -> None:
    """A pod's start (or end) until edged is killed at this step."""
    clock, axe = SystemClock(), Axe(under_way=0.01)
    metadata = MemoryMetadata(clock)
    runtime = axe.over(CriClient(str(containerd.socket)), (*STARTING, *STOPPING))
    settings: dict[str, Any] = {"cgroup_root": CGROUP_ROOT, "cgroup_mount": Path("/sys/fs/cgroup")}
    try:
        async with running(root, runtime, metadata, clock, mounter=SystemMounter(), **settings) as edged:
            if not deleted:
                axe.arm(step)
            await metadata.put("pod", obj)
            await metadata.until_status("uid-kill", is_running, 40)
            await edged.sync.idle()
            axe.arm(step)
            await metadata.put("pod", deleting(obj, 1))
            await asyncio.sleep(20)
    except* Killed:
        pass
    assert axe.fallen


def nothing_is_left(containerd: Containerd, root: Path) -> None:
    assert not list((root / "kubelet/pods").iterdir())
    assert pod_cgroups() == []
    assert containerd.ctr("containers", "ls", "-q").stdout.split() == []


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a short name: below it are sockets, whose paths must be."""
    root = Path(tempfile.mkdtemp(prefix="csi"))
    yield root
    for point in mounted_below(root):
        subprocess.run(["umount", "-l", str(point)], check=False)
    shutil.rmtree(root)


@pytest.fixture
def csi_driver(short: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a CSI driver with its registrar, as a process of its own."""
    begun: list[subprocess.Popen[bytes]] = []
    command = [sys.executable, "-m", "octoedge.testing.csi", "--name", "dir.example.com", "--home", str(short)]
    command += ["--registry", str(short / "kubelet/plugins_registry")]

    def start() -> subprocess.Popen[bytes]:
        begun.append(subprocess.Popen(command))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait(20)


def test_a_csi_volume_is_there_is_shared_and_goes_while_its_driver_comes_and_goes(
    containerd: Containerd, short: Path, csi_driver: Callable[[], subprocess.Popen[bytes]]
) -> None:
    claim = {"name": "data", "namespace": "default", "uid": "claim-uid"}
    volume = {"claimRef": claim, "csi": {"driver": "dir.example.com", "volumeHandle": "h1"}}
    rules = {"attachRequired": False, "volumeLifecycleModes": ["Persistent", "Ephemeral"], "fsGroupPolicy": "File"}
    objects: list[tuple[str, dict[str, Any]]] = [
        ("csidriver", {"metadata": {"name": "dir.example.com", "namespace": CLUSTER}, "spec": rules}),
        ("persistentvolume", {"metadata": {"name": "pv-1", "namespace": CLUSTER}, "spec": volume}),
        (
            "persistentvolumeclaim",
            {"metadata": claim, "spec": {"volumeName": "pv-1"}, "status": {"phase": "Bound"}},
        ),
    ]
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "own", "csi": {"driver": "dir.example.com"}},
    ]
    mounts = [{"name": "data", "mountPath": "/data"}, {"name": "own", "mountPath": "/own"}]
    script = "echo from $HOSTNAME $(id -G) >> /data/log; touch /own/x; cat /data/log; sleep 1000"

    def using(name: str) -> dict[str, Any]:
        main = container("main", "/bin/sh", "-c", script, volumeMounts=mounts)
        return on_host(name, main, volumes=volumes, securityContext={"fsGroup": 4321})

    async def first(metadata: MemoryMetadata, edged: Edged) -> None:
        for kind, obj in objects:
            await metadata.put(kind, obj)
        await metadata.put("pod", using("one"))
        missing = "not found in the list of registered CSI drivers"
        await comes_true(lambda: any(missing in event["message"] for event in metadata.events))
        driver = csi_driver()
        await metadata.until_status("uid-one", is_running, 30)
        await metadata.put("pod", using("two"))
        await metadata.until_status("uid-two", is_running, 30)
        async with asyncio.timeout(20):  # They run before they have written anything.
            while len((short / "volumes/h1/log").read_text().splitlines()) < 2:  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.05)
            while "4321" not in await text_of(edged, "two"):  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.05)
        await gone(metadata, using("one"))
        assert len(mounted_below(short / "kubelet/plugins")) == 1
        driver.kill()
        driver.wait(20)
        await metadata.put("pod", deleting(using("two"), 1))
        await asyncio.sleep(2)
        assert metadata.deleted == [("default/pod/one", "uid-one")]

    async def second(metadata: MemoryMetadata, _edged: Edged) -> None:
        await metadata.put("pod", deleting(using("two"), 1))
        csi_driver()
        await metadata.until_deleted("uid-two", 60)

    scenario(containerd, short, first, unmount=False)
    assert len(mounted_below(short / "kubelet")) == 3
    scenario(containerd, short, second)
    assert mounted_below(short) == []
    assert (short / "volumes/h1/log").exists()
