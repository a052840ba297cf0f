"""What was owned goes, stays, or is waited for, as the deletion says; also when the collector is killed meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from octoedge.testing.controlplane import ControlPlane, simulate, workload

Json = dict[str, Any]


def config_map(name: str, *owners: Json, **about: Any) -> Json:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "ownerReferences": [*owners], **about}}


def owner(at: ControlPlane, name: str, *, blocks: bool = False, resource: str = "configmaps") -> Json:
    found = at.get(resource, name)
    return {
        "apiVersion": found["apiVersion"],
        "kind": found["kind"],
        "name": name,
        "uid": found["metadata"]["uid"],
        "blockOwnerDeletion": blocks,
    }


async def three_generations(at: ControlPlane) -> None:
    await at.create(workload("Deployment", "web", replicas=2))
    await at.until(lambda: len(at.living()) == 2)


def test_in_the_background_the_owner_goes_first(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await three_generations(at)
        await at.delete("deployments.apps", "web")
        assert at.all("deployments.apps") == []
        await at.until(lambda: not at.all("replicasets.apps") and not at.all("pods"))

    simulate(tmp_path, story)


def test_in_the_foreground_it_goes_last(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await three_generations(at)
        at.cut_off = set(at.nodes)
        await at.delete("deployments.apps", "web", "Foreground")
        await asyncio.sleep(30)
        assert at.get("deployments.apps", "web")["metadata"]["finalizers"] == ["foregroundDeletion"]
        assert at.all("replicasets.apps")[0]["metadata"]["deletionTimestamp"]
        assert [bool(pod["metadata"].get("deletionTimestamp")) for pod in at.all("pods")] == [True, True]
        at.cut_off = set()
        await at.until(lambda: not at.all("deployments.apps"))
        assert at.all("replicasets.apps") == at.all("pods") == []

    simulate(tmp_path, story)


def test_orphans_stay_and_are_adopted_again(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await three_generations(at)
        before = {pod["metadata"]["uid"] for pod in at.living()}
        await at.delete("deployments.apps", "web", "Orphan")
        await at.until(lambda: not at.all("deployments.apps"))
        assert "ownerReferences" not in at.all("replicasets.apps")[0]["metadata"]
        await asyncio.sleep(60)
        await at.create(workload("Deployment", "web", replicas=2))
        await at.until(lambda: "ownerReferences" in at.all("replicasets.apps")[0]["metadata"])
        await asyncio.sleep(30)
        assert {pod["metadata"]["uid"] for pod in at.living()} == before
        assert len(at.all("replicasets.apps")) == 1

    simulate(tmp_path, story)


def test_an_object_lives_as_long_as_one_of_its_owners(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(config_map("a"), config_map("b"))
        await at.create(config_map("child", owner(at, "a"), owner(at, "b")))
        await at.delete("configmaps", "a")
        await at.until(lambda: len(at.get("configmaps", "child")["metadata"]["ownerReferences"]) == 1)
        await at.delete("configmaps", "b")
        await at.until(lambda: not at.get("configmaps", "child"))

    simulate(tmp_path, story)


def test_an_owner_of_the_same_name_is_not_the_same_owner(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(config_map("a"))
        child = config_map("child", owner(at, "a"))
        await at.delete("configmaps", "a")
        await at.create(config_map("a"), child)
        await at.until(lambda: not at.get("configmaps", "child"))
        assert at.get("configmaps", "a")

    simulate(tmp_path, story)


def test_an_owner_of_an_unknown_kind_keeps_its_own(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        unknown = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": "u"}
        await at.create(config_map("child", unknown))
        await asyncio.sleep(600)
        assert at.get("configmaps", "child")

    simulate(tmp_path, story)


def test_a_dependent_with_a_finalizer_of_its_own_holds_up_only_those_it_blocks(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(config_map("a"), config_map("b"))
        held = {"finalizers": ["example.com/hold"]}
        await at.create(config_map("blocks", owner(at, "a", blocks=True), **held))
        await at.create(config_map("does-not", owner(at, "b"), **held))
        await at.delete("configmaps", "a", "Foreground")
        await at.delete("configmaps", "b", "Foreground")
        await at.until(lambda: not at.get("configmaps", "b"))
        await asyncio.sleep(60)
        assert at.get("configmaps", "a")
        await at.edit("configmaps", "blocks", lambda obj: obj["metadata"].pop("finalizers"))
        await at.until(lambda: not at.get("configmaps", "a"))

    simulate(tmp_path, story)


def test_an_object_of_no_namespace_cannot_belong_to_one_of_a_namespace(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(config_map("a"))
        class_ = {"kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "value": 1}
        await at.create({**class_, "metadata": {"name": "odd", "ownerReferences": [owner(at, "a")]}})
        await asyncio.sleep(600)
        assert at.get("priorityclasses.scheduling.k8s.io", "odd")
        assert any(text.startswith("OwnerRefInvalidNamespace") for text in at.told())

    simulate(tmp_path, story)


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_a_kill_right_after_the_deletion_leaves_no_garbage(tmp_path: Path, policy: str) -> None:
    async def story(at: ControlPlane) -> None:
        await three_generations(at)
        await at.delete("deployments.apps", "web", policy)
        for _ in range(5):
            await at.restart()
            await asyncio.sleep(0.3)
        await at.until(lambda: not (at.all("deployments.apps") or at.all("replicasets.apps") or at.all("pods")))

    simulate(tmp_path, story)
