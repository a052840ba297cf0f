"""Processes are killed without warning; nothing is lost, and what ran goes on running."""

from __future__ import annotations

import pytest

from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation, fetch

from .pods import PAGE, URL, apply_hello, await_ready, container_id, is_node_ready, is_ready, pod, started_at


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
