"""Deployments and ReplicaSets on a whole control plane in virtual time: never too many Pods, never too few."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.errors import ApiError
from octoedge.kube.read import Change
from octoedge.testing.controlplane import ControlPlane, is_living, is_ready, simulate, template, workload

Json = dict[str, Any]


def image_of(pod: Json) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def set_image(image: str) -> Any:
    def change(obj: Json) -> None:
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = image

    return change


def set_replicas(count: int) -> Any:
    def change(obj: Json) -> None:
        obj["spec"]["replicas"] = count

    return change


def is_rolled_out(at: ControlPlane, name: str = "web") -> bool:
    """As `kubectl rollout status` decides it."""
    found = at.get("deployments.apps", name)
    status, wanted = found.get("status") or {}, found["spec"]["replicas"]
    return bool(
        status.get("observedGeneration", 0) >= found["metadata"]["generation"]
        and status.get("updatedReplicas", 0)
        == wanted
        == status.get("replicas", 0)
        == status.get("availableReplicas", 0)
    )


def revisions(at: ControlPlane) -> dict[str, str]:
    """Image by revision."""
    return {
        one["metadata"]["annotations"]["deployment.kubernetes.io/revision"]: image_of(one["spec"]["template"])
        for one in at.all("replicasets.apps")
    }


def progress(at: ControlPlane) -> tuple[str, str]:
    """What the Progressing condition says."""
    conditions = at.get("deployments.apps", "web")["status"].get("conditions") or []
    return next((str(one["status"]), str(one["reason"])) for one in conditions if one["type"] == "Progressing")


class Limits:
    """Watches every change of every Pod: not more than `most` living, and once `least` are ready, never fewer."""

    def __init__(self, at: ControlPlane, most: int, least: int = 0) -> None:
        self.most = most
        self.least = least
        self.armed = False
        self.living: set[tuple[str, str]] = set()
        self.ready: set[tuple[str, str]] = set()
        self.at = at
        self.starts = 0
        at.watchers.append(self.seen)

    def seen(self, change: Change) -> None:
        if self.starts != self.at.starts:
            # What was written in the moment of the kill was not watched.
            self.starts = self.at.starts
            self.living.clear()
            self.ready.clear()
            for pod in self.at.all("pods"):
                self._count((pod["metadata"]["namespace"], pod["metadata"]["name"]), pod)
            return
        self._count(change.item.key, msgspec.json.decode(change.item.data) if change.type != "DELETED" else None)

    def _count(self, key: tuple[str, str], pod: Json | None) -> None:
        self.living.discard(key)
        self.ready.discard(key)
        if pod is not None and is_living(pod):
            self.living.add(key)
            if is_ready(pod):
                self.ready.add(key)
        assert len(self.living) <= self.most, f"{len(self.living)} Pods live, {self.most} may"
        self.armed = self.armed or len(self.ready) >= self.least
        assert not self.armed or len(self.ready) >= self.least, f"{len(self.ready)} are ready, {self.least} must"


def test_a_deployment_makes_its_pods_and_replaces_one_that_is_deleted(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(workload("Deployment", "web", replicas=3))
        await at.until(lambda: is_rolled_out(at))
        first = {pod["metadata"]["name"] for pod in at.living()}
        assert len(first) == 3
        pod = at.living()[0]
        sets = at.all("replicasets.apps")
        digest = sets[0]["metadata"]["labels"]["pod-template-hash"]
        assert sets[0]["metadata"]["name"] == f"web-{digest}"
        assert pod["metadata"]["labels"] == {"app": "web", "pod-template-hash": digest}
        assert pod["metadata"]["ownerReferences"][0]["name"] == f"web-{digest}"
        await at.delete("pods", sorted(first)[0])
        await at.until(lambda: len(at.all("pods")) == 3 and is_rolled_out(at))
        assert sorted(first)[0] not in {pod["metadata"]["name"] for pod in at.living()}
        conditions = {one["type"]: one["reason"] for one in at.get("deployments.apps", "web")["status"]["conditions"]}
        assert conditions == {"Available": "MinimumReplicasAvailable", "Progressing": "NewReplicaSetAvailable"}

    simulate(tmp_path, story)


def test_a_roll_out_keeps_to_its_limits_and_can_be_undone(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
        await at.create(workload("Deployment", "web", replicas=5, strategy=rolling))
        await at.until(lambda: is_rolled_out(at))
        Limits(at, most=6, least=4)
        await at.edit("deployments.apps", "web", set_image("i:2"))
        await at.until(lambda: is_rolled_out(at))
        assert {image_of(pod) for pod in at.living()} == {"i:2"}
        assert revisions(at) == {"1": "i:1", "2": "i:2"}
        await at.edit("deployments.apps", "web", set_image("i:1"))
        await at.until(lambda: is_rolled_out(at))
        assert {image_of(pod) for pod in at.living()} == {"i:1"}
        assert revisions(at) == {"2": "i:2", "3": "i:1"}
        found = at.get("deployments.apps", "web")
        assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"

    simulate(tmp_path, story)


def test_a_broken_image_leaves_enough_of_the_old_and_says_that_it_is_stuck(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        at.broken = lambda pod: image_of(pod) == "i:broken"
        await at.create(workload("Deployment", "web", replicas=4, progressDeadlineSeconds=60))
        await at.until(lambda: is_rolled_out(at))
        Limits(at, most=5, least=3)
        await at.edit("deployments.apps", "web", set_image("i:broken"))
        await at.until(lambda: progress(at) == ("False", "ProgressDeadlineExceeded"))
        assert sorted(image_of(pod) for pod in at.living()) == ["i:1", "i:1", "i:1", "i:broken", "i:broken"]
        await at.edit("deployments.apps", "web", set_image("i:3"))
        await at.until(lambda: is_rolled_out(at))
        assert {image_of(pod) for pod in at.living()} == {"i:3"}

    simulate(tmp_path, story)


def test_recreate_never_runs_two_versions_at_once(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(workload("Deployment", "web", replicas=3, strategy={"type": "Recreate"}))
        await at.until(lambda: is_rolled_out(at))
        mixed = []

        def seen(_: Change) -> None:
            images = {image_of(pod) for pod in at.all("pods")}
            mixed.extend([images] if len(images) > 1 else [])

        at.watchers.append(seen)
        await at.edit("deployments.apps", "web", set_image("i:2"))
        await at.until(lambda: is_rolled_out(at))
        assert mixed == []
        assert {image_of(pod) for pod in at.living()} == {"i:2"}

    simulate(tmp_path, story)


def test_a_paused_deployment_scales_but_does_not_change_over(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(workload("Deployment", "web", replicas=2))
        await at.until(lambda: is_rolled_out(at))
        await at.edit("deployments.apps", "web", lambda obj: obj["spec"].update(paused=True))
        await at.edit("deployments.apps", "web", set_image("i:2"))
        await at.edit("deployments.apps", "web", set_replicas(4))
        await at.until(lambda: len(at.living()) == 4)
        assert {image_of(pod) for pod in at.living()} == {"i:1"}
        await at.edit("deployments.apps", "web", lambda obj: obj["spec"].pop("paused"))
        await at.until(lambda: is_rolled_out(at))
        assert {image_of(pod) for pod in at.living()} == {"i:2"}

    simulate(tmp_path, story)


def test_old_revisions_are_cut_at_the_limit(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(workload("Deployment", "web", replicas=1, revisionHistoryLimit=2))
        for number in range(2, 7):
            await at.until(lambda: is_rolled_out(at))
            await at.edit("deployments.apps", "web", set_image(f"i:{number}"))
        await at.until(lambda: is_rolled_out(at) and len(at.all("replicasets.apps")) == 3)
        assert revisions(at) == {"4": "i:4", "5": "i:5", "6": "i:6"}

    simulate(tmp_path, story)


def test_a_pod_on_a_node_that_is_away_is_neither_deleted_nor_doubled(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(workload("Deployment", "web", replicas=3))
        await at.until(lambda: is_rolled_out(at))
        before = {pod["metadata"]["uid"] for pod in at.living()}
        at.cut_off.add("edge-2")

        def away(obj: Json) -> None:
            obj["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
            obj["spec"]["taints"] = [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]

        await at.edit("nodes", "edge-2", away, "status")
        await asyncio.sleep(3600)
        assert {pod["metadata"]["uid"] for pod in at.all("pods")} == before
        await at.restart()
        await asyncio.sleep(600)
        assert {pod["metadata"]["uid"] for pod in at.all("pods")} == before

    simulate(tmp_path, story)


def test_pods_are_adopted_and_let_go_by_their_labels(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        mine = {"kind": "Pod", "apiVersion": "v1", **template("web")}
        mine["metadata"] = {**mine["metadata"], "name": "mine"}
        await at.create(mine)
        await at.create(workload("ReplicaSet", "web", replicas=2))
        await at.until(lambda: len(at.living()) == 2)
        assert at.get("pods", "mine")["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet"
        await at.edit("pods", "mine", lambda obj: obj["metadata"].update(labels={"app": "other"}))
        await at.until(lambda: len(at.living()) == 3)
        assert "ownerReferences" not in at.get("pods", "mine")["metadata"]
        await at.edit("pods", "mine", lambda obj: obj["metadata"].update(labels={"app": "web"}))
        await at.until(lambda: len(at.living()) == 2)

    simulate(tmp_path, story)


def test_pods_that_are_refused_are_made_more_and_more_slowly(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        at.outcome = lambda _: "Failed"
        await at.create(workload("Deployment", "web", replicas=1))
        await asyncio.sleep(3600)
        made = {change.item.name for change in at.changes if change.type == "ADDED"}
        assert 5 < len(made) < 40
        assert len(at.all("pods")) <= 7

    simulate(tmp_path, story)


def test_a_pod_that_may_not_be_made_is_told_and_made_once_it_may(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(workload("Deployment", "web", template=template("web", serviceAccountName="later")))
        await asyncio.sleep(30)
        failure = at.all("replicasets.apps")[0]["status"]["conditions"][0]
        assert (failure["type"], failure["reason"]) == ("ReplicaFailure", "FailedCreate")
        assert any('serviceaccount "later" not found' in text for text in at.told())
        await at.create({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "later"}})
        await at.until(lambda: is_rolled_out(at))
        assert "conditions" not in at.all("replicasets.apps")[0]["status"]

    simulate(tmp_path, story)


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_any_moment_it_ends_right_and_never_has_too_many(tmp_path: Path, seed: int) -> None:
    async def story(at: ControlPlane) -> None:
        rng = random.Random(seed)
        await at.create(workload("Deployment", "web", replicas=6))
        await at.until(lambda: is_rolled_out(at))
        limits = Limits(at, most=8, least=0)
        image = "i:1"
        for number in range(12):
            action = rng.randrange(4)
            if action == 0:
                image = f"i:{rng.randrange(4)}"
                await at.edit("deployments.apps", "web", set_image(image))
            elif action == 1 and at.living():
                await at.delete("pods", rng.choice(at.living())["metadata"]["name"])
            elif action == 2:
                at.cut_off = {rng.choice(at.nodes)} if number % 2 else set()
            await asyncio.sleep(rng.random() * 3)
            await at.stop()
            await at.start()
        at.cut_off = set()
        await at.until(lambda: is_rolled_out(at) and len(at.all("pods")) == 6)
        assert {image_of(pod) for pod in at.living()} == {image}
        assert limits.living

    simulate(tmp_path, story)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda spec: spec["selector"]["matchLabels"].update(app="x"), "`selector` does not match template `labels`"),
        (lambda spec: spec.update(selector={}), "empty selector is invalid for deployment"),
        (lambda spec: spec.update(replicas=-1), "must be greater than or equal to 0"),
        (
            lambda spec: spec.update(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}),
            "may not be 0 when `maxSurge` is 0",
        ),
        (lambda spec: spec["template"]["spec"].update(restartPolicy="Never"), 'supported values: "Always"'),
        (lambda spec: spec["template"]["spec"]["containers"][0].pop("image"), "image: Required value"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: Any, said: str) -> None:
    async def story(at: ControlPlane) -> None:
        wrong = workload("Deployment", "web")
        change(wrong["spec"])
        with pytest.raises(ApiError) as refused:
            await at.create(wrong)
        assert (refused.value.code, refused.value.reason) == (422, "Invalid")
        assert said in refused.value.message

    simulate(tmp_path, story)


def test_the_selector_of_a_deployment_stays_as_it_is(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(workload("Deployment", "web"))

        def change(obj: Json) -> None:
            obj["spec"]["selector"] = {"matchLabels": {"app": "x"}}
            obj["spec"]["template"]["metadata"]["labels"] = {"app": "x"}

        with pytest.raises(ApiError) as refused:
            await at.edit("deployments.apps", "web", change)
        assert "field is immutable" in refused.value.message

    simulate(tmp_path, story)
