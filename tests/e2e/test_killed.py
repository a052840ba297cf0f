"""Processes are killed without warning; nothing is lost, and what ran goes on running."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from octoedge.keadm.processes import find_by_arguments
from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation, fetch

from .pods import PAGE, URL, apply_hello, await_ready, container_id, is_node_ready, is_ready, pod, started_at

NAMES = ["apiserver", "cloudcore", "containerd", "mosquitto", "edgecore"]


def connected(installation: Installation) -> bool:
    """Whether edgecore has its session with the cloud."""
    return bool(installation.status()["edgecore"]["ok"])


def test_edgecore_leaves_its_containers_alone(installation: Installation) -> None:
    before = apply_hello(installation)
    installation.kill("edgecore")
    assert fetch(URL) == PAGE
    installation.daemon("edgecore").start()
    eventually(lambda: connected(installation), within=5)
    after = await_ready(installation, "hello")
    assert (started_at(after), container_id(after)) == (started_at(before), container_id(before))
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0
    assert fetch(URL) == PAGE
    assert is_node_ready(installation)


def test_a_configmap_goes_on_being_mounted(installation: Installation) -> None:
    apply_hello(installation)
    installation.kill("edgecore")
    installation.daemon("edgecore").start()
    patch = '{"data": {"index.html": "after the crash"}}'
    installation.kubectl("patch", "configmap", "hello", "--type=merge", "-p", patch).check()
    eventually(lambda: fetch(URL), lambda page: page == "after the crash")


@pytest.mark.parametrize("name", ["cloudcore", "apiserver"])
def test_the_cloud_comes_back_with_everything(installation: Installation, name: str) -> None:
    before = apply_hello(installation)
    installation.kill(name)
    assert fetch(URL) == PAGE
    others = [other for other in ("apiserver", "cloudcore", "containerd", "edgecore") if other != name]
    pids = [installation.daemon(other).pid() for other in others]
    installation.up()
    assert [installation.daemon(other).pid() for other in others] == pids
    eventually(lambda: connected(installation))
    after = await_ready(installation, "hello")
    assert (after["metadata"]["uid"], container_id(after)) == (before["metadata"]["uid"], container_id(before))
    assert installation.get("configmap", "hello")["data"] == {"index.html": PAGE}
    assert installation.kubectl("logs", "hello").check().startswith("hello from ")


def test_a_delete_that_came_while_the_edge_was_away_is_done(installation: Installation) -> None:
    apply_hello(installation)
    installation.kill("edgecore")
    installation.kubectl("delete", "pod", "hello", "--wait=false").check()
    assert pod(installation, "hello")["metadata"]["deletionTimestamp"]
    installation.daemon("edgecore").start()
    eventually(lambda: installation.kubectl("get", "pod", "hello").err, lambda words: "NotFound" in words)
    eventually(lambda: installation.ctr("containers", "list", "--quiet"), lambda ids: ids == "")


def test_a_pod_that_came_while_the_edge_was_away_is_run(installation: Installation) -> None:
    installation.kill("edgecore")
    apply = installation.kubectl("apply", "-f", "examples/hello-pod.yaml")
    assert apply.status == 0, apply.err
    installation.daemon("edgecore").start()
    await_ready(installation, "hello")


def test_a_killed_container_is_started_again(installation: Installation) -> None:
    before = apply_hello(installation)
    installation.ctr("tasks", "kill", "--signal", "SIGKILL", container_id(before))
    after = eventually(
        lambda: pod(installation, "hello"),
        lambda found: is_ready(found) and container_id(found) != container_id(before),
    )
    assert after["status"]["containerStatuses"][0]["restartCount"] == 1
    eventually(lambda: fetch(URL), lambda page: page == PAGE)


def test_containerd_may_be_killed_too(installation: Installation) -> None:
    before = apply_hello(installation)
    installation.kill("containerd")
    assert fetch(URL) == PAGE
    installation.up()
    after = await_ready(installation, "hello")
    assert started_at(after) == started_at(before)


def test_everything_may_be_killed_at_once(installation: Installation) -> None:
    """As a machine that loses power, except that the kernel remembers mounts, namespaces and the bridge."""
    before = apply_hello(installation)
    for name in NAMES:
        installation.kill(name)
    shims = find_by_arguments(("-address", str(installation.layout.runtime_socket)))
    assert shims
    for pid in [*shims, *members(installation.layout.cgroup_root)]:
        with contextlib.suppress(ProcessLookupError):  # a container may end with its shim
            os.kill(pid, signal.SIGKILL)
    installation.up()
    after = eventually(
        lambda: pod(installation, "hello"),
        lambda found: is_ready(found) and container_id(found) != container_id(before),
    )
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert eventually(lambda: fetch(URL)) == PAGE


def members(cgroup: str) -> set[int]:
    """The processes of the pods."""
    lists = (entry for top in Path("/sys/fs/cgroup").glob(f"**{cgroup}") for entry in top.rglob("cgroup.procs"))
    return {int(pid) for entry in lists for pid in entry.read_text().split()}


@pytest.mark.parametrize("lines", [1, 3, 6, 8, 12])
def test_up_may_be_killed_at_any_step_and_goes_on(installation: Installation, lines: int) -> None:
    """It is killed right after it has printed so many lines; nothing that it started is lost sight of."""
    installation.down()
    command = (str(Path(sys.executable).with_name("octoedge")), "up")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=installation.environment) as process:
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        process.kill()
    installation.up()
    assert all(part["ok"] for part in installation.status().values())
    for name in NAMES:
        assert len(find_by_arguments(installation.daemon(name).command)) == 1
