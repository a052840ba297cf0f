"""Three nodes, a Deployment that rolls, and processes killed in any order: it ends right, and who was well lives on."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation

from .pods import container_id, is_ready, started_at

Json = dict[str, Any]
FURTHER = ("edge-2", "edge-3")
CLOUD = ("apiserver", "cloudcore")
PROCESSES = (*CLOUD, *(f"{name}{node}" for name in ("edgecore", "containerd") for node in ("", "@edge-2", "@edge-3")))
SERVE = ["httpd", "-f", "-p", "8080", "-h", "/"]
ROUNDS = 5


@pytest.fixture(scope="module")
def site(running: Installation) -> Iterator[Installation]:
    """The installation with two more nodes."""
    running.up()
    for name in FURTHER:
        running.octoedge("node", "add", name).check()
    yield running
    running.up()
    running.kubectl("delete", "deployments,daemonsets", "--all", "--timeout=40s").check()
    for name in FURTHER:
        running.octoedge("node", "remove", name).check()


def workload(kind: str, name: str, **spec: Any) -> str:
    container = {"name": "c", "image": "octoedge.local/hello:1", "command": SERVE, "env": [{"name": "V", "value": "0"}]}
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    }
    body = {"selector": {"matchLabels": {"app": name}}, "template": template, **spec}
    return json.dumps({"kind": kind, "apiVersion": "apps/v1", "metadata": {"name": name}, "spec": body})


def pods(site: Installation, app: str) -> list[Json]:
    found: list[Json] = site.get("pods", "-l", f"app={app}")["items"]
    return found


def lives(site: Installation, app: str) -> dict[str, tuple[str, str, int]]:
    """Which container each Pod has, since when, and how often it was restarted."""
    return {
        pod["metadata"]["name"]: (
            container_id(pod),
            started_at(pod),
            pod["status"]["containerStatuses"][0]["restartCount"],
        )
        for pod in pods(site, app)
    }


def are_well(site: Installation, app: str, version: str) -> bool:
    found = pods(site, app)
    values = {pod["spec"]["containers"][0]["env"][0]["value"] for pod in found}
    return len(found) == 3 and values == {version} and all(is_ready(pod) for pod in found)


def insist(site: Installation, *words: str) -> None:
    """What a user does while the API server is away: try again."""
    eventually(lambda: site.kubectl(*words).status, lambda status: status == 0, within=30)


def test_whatever_is_killed_it_ends_right(site: Installation) -> None:
    rng = random.Random(int(os.environ.get("OCTOEDGE_SEED", "7")))
    rolling = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
    site.kubectl("apply", "-f", "-", stdin=workload("DaemonSet", "calm")).check()
    site.kubectl("apply", "-f", "-", stdin=workload("Deployment", "web", replicas=3, strategy=rolling)).check()
    for app in ("calm", "web"):
        eventually(lambda app=app: are_well(site, app, "0"), within=40)  # type: ignore[misc]
    assert {pod["spec"]["nodeName"] for pod in pods(site, "web")} == {"edge-1", *FURTHER}, "spread over the nodes"
    before = lives(site, "calm")
    for number in range(1, ROUNDS + 1):
        insist(site, "set", "env", "deployment/web", f"V={number}")
        for name in rng.sample(PROCESSES, rng.randint(1, 3)):
            site.kill(name)
            if rng.random() < 0.7:
                site.daemon(name).start()
        site.up()
    eventually(lambda: are_well(site, "web", str(ROUNDS)), within=40)
    assert lives(site, "calm") == before, "nobody who was well was restarted"
    assert [restarts for _, _, restarts in lives(site, "web").values()] == [0, 0, 0]
    sets = [one for one in site.get("replicasets")["items"] if one["spec"]["replicas"]]
    assert len(sets) == 1
    for node in ("edge-1", *FURTHER):
        running = site.ctr_of(node, "tasks", "list", "--quiet").split()
        here = [pod for app in ("calm", "web") for pod in pods(site, app) if pod["spec"]["nodeName"] == node]
        assert len(running) == 2 * len(here), f"a sandbox and a container for each pod of {node}, and nothing else"
