"""StatefulSets on a whole control plane in virtual time: names that stay, order, revisions."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from octoedge.errors import ApiError
from octoedge.testing.controlplane import ControlPlane, is_ready, simulate, template, workload

Json = dict[str, Any]


def images(at: ControlPlane) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"] for pod in at.living()}


def set_image(image: str) -> Any:
    return lambda obj: obj["spec"]["template"]["spec"]["containers"][0].update(image=image)


def is_rolled_out(at: ControlPlane) -> bool:
    found = at.get("statefulsets.apps", "db")
    status, wanted = found.get("status") or {}, found["spec"]["replicas"]
    return bool(
        status.get("observedGeneration") == found["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == status.get("readyReplicas", 0) == wanted
        and status["currentRevision"] == status["updateRevision"]
    )


def db(**spec: Any) -> Json:
    return workload("StatefulSet", "db", serviceName="db", **spec)


def disk(name: str) -> Json:
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": f"/{name}"}}
    return {"kind": "PersistentVolume", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}


def test_containers_mount_what_is_claimed_for_them(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        wish = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        made = db(replicas=1, volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": wish}])
        container = made["spec"]["template"]["spec"]["containers"][0]
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        await at.create(disk("disk-0"), made)
        await at.until(lambda: is_rolled_out(at))
        volumes = at.get("pods", "db-0")["spec"]["volumes"]
        assert {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}} in volumes
        container["volumeMounts"] = [{"name": "other", "mountPath": "/data"}]
        with pytest.raises(ApiError, match=r'volumeMounts\[0\].name: Not found: "other"'):
            await at.create({**made, "metadata": {"name": "second"}})

    simulate(tmp_path, story)


def test_pods_come_one_after_the_other_and_go_from_the_end(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        made: list[str] = []

        def seen(change: Any) -> None:
            if change.type == "ADDED":
                assert all(is_ready(pod) for pod in at.all("pods") if pod["metadata"]["name"] != change.item.name)
                made.append(change.item.name)

        at.watchers.append(seen)
        wish = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        claims = [{"metadata": {"name": "data"}, "spec": wish}]
        await at.create(*(disk(f"disk-{number}") for number in range(3)))
        await at.create(db(replicas=3, volumeClaimTemplates=claims))
        await at.until(lambda: is_rolled_out(at))
        assert made == ["db-0", "db-1", "db-2"]
        pod = at.get("pods", "db-1")
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-1", "db")
        assert pod["spec"]["volumes"][0]["persistentVolumeClaim"] == {"claimName": "data-db-1"}
        await at.edit("statefulsets.apps", "db", lambda obj: obj["spec"].update(replicas=1))
        await at.until(lambda: sorted(images(at)) == ["db-0"] and len(at.all("pods")) == 1)
        assert len(at.all("persistentvolumeclaims")) == 3

    simulate(tmp_path, story)


def test_an_update_goes_from_the_end_and_a_wrong_one_can_be_put_right(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        at.broken = lambda pod: pod["spec"]["containers"][0]["image"] == "i:broken"
        await at.create(db(replicas=3))
        await at.until(lambda: is_rolled_out(at))
        await at.edit("statefulsets.apps", "db", set_image("i:broken"))
        await asyncio.sleep(120)
        assert images(at) == {"db-0": "i:1", "db-1": "i:1", "db-2": "i:broken"}
        await at.edit("statefulsets.apps", "db", set_image("i:3"))
        await at.until(lambda: is_rolled_out(at))
        assert set(images(at).values()) == {"i:3"}
        assert [one["revision"] for one in at.all("controllerrevisions.apps")] != []
        assert len(at.all("controllerrevisions.apps")) == 3

    simulate(tmp_path, story)


def test_a_name_on_a_node_that_is_away_is_never_given_twice(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(db(replicas=2))
        await at.until(lambda: is_rolled_out(at))
        pod = at.get("pods", "db-0")
        at.cut_off = {pod["spec"]["nodeName"]}
        await at.delete("pods", "db-0")
        await asyncio.sleep(1800)
        assert at.get("pods", "db-0")["metadata"]["uid"] == pod["metadata"]["uid"]
        at.cut_off = set()
        await at.until(lambda: is_rolled_out(at))
        assert at.get("pods", "db-0")["metadata"]["uid"] != pod["metadata"]["uid"]

    simulate(tmp_path, story)


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(tmp_path: Path, seed: int) -> None:
    async def story(at: ControlPlane) -> None:
        rng = random.Random(seed)
        await at.create(db(replicas=3))
        for number in range(8):
            if number % 2:
                await at.edit("statefulsets.apps", "db", set_image(f"i:{number}"))
            await asyncio.sleep(rng.random() * 4)
            await at.restart()
        await at.until(lambda: is_rolled_out(at))
        assert images(at) == {"db-0": "i:7", "db-1": "i:7", "db-2": "i:7"}

    simulate(tmp_path, story)


def test_a_daemonset_is_on_every_node_and_follows_labels_and_taints(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        chosen = template("agent", nodeSelector={"role": "edge"})
        await at.create(workload("DaemonSet", "agent", template=chosen))
        await asyncio.sleep(5)
        assert at.living() == []
        for name in ("edge-1", "edge-2"):
            await at.edit("nodes", name, lambda obj: obj["metadata"]["labels"].update(role="edge"))
        await at.until(lambda: sum(is_ready(pod) for pod in at.living()) == 2)
        status = at.get("daemonsets.apps", "agent")["status"]
        assert (status["desiredNumberScheduled"], status["numberReady"]) == (2, 2)
        taint = {"key": "mine", "effect": "NoExecute"}
        await at.edit("nodes", "edge-1", lambda obj: obj.setdefault("spec", {}).update(taints=[taint]))
        await at.until(lambda: [pod["spec"]["nodeName"] for pod in at.all("pods")] == ["edge-2"])
        await at.edit("daemonsets.apps", "agent", set_image("i:2"))
        await at.until(lambda: list(images(at).values()) == ["i:2"] and is_ready(at.living()[0]))
        revisions = sorted((one["revision"], one["metadata"]["labels"]["controller-revision-hash"])
                           for one in at.all("controllerrevisions.apps"))  # fmt: skip
        assert at.living()[0]["metadata"]["labels"]["controller-revision-hash"] == revisions[-1][1]

    simulate(tmp_path, story)


@pytest.mark.parametrize("scaled", ["Retain", "Delete"])
@pytest.mark.parametrize("deleted", ["Retain", "Delete"])
def test_claims_go_when_the_policy_says_so(tmp_path: Path, scaled: str, deleted: str) -> None:
    async def story(at: ControlPlane) -> None:
        def names() -> list[str]:
            return [one["metadata"]["name"] for one in at.all("persistentvolumeclaims")]

        storage = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
        claims = [{"metadata": {"name": "data"}, "spec": storage}]
        policy = {"whenScaled": scaled, "whenDeleted": deleted}
        await at.create(*(disk(f"disk-{number}") for number in range(8)))
        await at.create(db(replicas=3, volumeClaimTemplates=claims, persistentVolumeClaimRetentionPolicy=policy))
        await at.until(lambda: is_rolled_out(at))
        await at.delete("pods", "db-1")
        await at.until(lambda: is_rolled_out(at) and len(at.living()) == 3)
        assert names() == ["data-db-0", "data-db-1", "data-db-2"]
        await at.edit("statefulsets.apps", "db", lambda obj: obj["spec"].update(replicas=2))
        await at.until(lambda: len(at.all("pods")) == 2)
        await asyncio.sleep(10)
        assert names() == ["data-db-0", "data-db-1"] + (["data-db-2"] if scaled == "Retain" else [])
        await at.edit("statefulsets.apps", "db", lambda obj: obj["spec"].update(replicas=3))
        await at.until(lambda: is_rolled_out(at) and len(names()) == 3)
        await at.delete("statefulsets.apps", "db")
        await at.until(lambda: not at.all("pods"))
        await asyncio.sleep(10)
        assert len(names()) == (3 if deleted == "Retain" else 0)

    simulate(tmp_path, story)
