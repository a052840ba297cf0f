"""Claims and volumes find each other, and never more than two at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from octoedge.errors import ApiError
from octoedge.testing.controlplane import ControlPlane, simulate, template

Json = dict[str, Any]
CLAIMS, VOLUMES = "persistentvolumeclaims", "persistentvolumes"


def volume(name: str, size: str = "1Gi", node: str = "", **spec: Any) -> Json:
    body: Json = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}, **spec}
    if node:
        expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        body["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
        body |= {"local": body.pop("hostPath")}
    return {"kind": "PersistentVolume", "apiVersion": "v1", "metadata": {"name": name}, "spec": body}


def claim(name: str, size: str = "1Gi", **spec: Any) -> Json:
    body = {"resources": {"requests": {"storage": size}}, "accessModes": ["ReadWriteOnce"], **spec}
    return {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": {"name": name}, "spec": body}


def storage_class(name: str, **more: Any) -> Json:
    head = {"kind": "StorageClass", "apiVersion": "storage.k8s.io/v1", "metadata": {"name": name}}
    return {**head, "provisioner": "kubernetes.io/no-provisioner", **more}


def user(name: str, *claims: str) -> Json:
    """A Pod that mounts claims."""
    spec = template("user")["spec"]
    volumes = [{"name": f"v{at}", "persistentVolumeClaim": {"claimName": one}} for at, one in enumerate(claims)]
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": {**spec, "volumes": volumes}}


def phase(at: ControlPlane, resource: str, name: str) -> str:
    return str((at.get(resource, name).get("status") or {}).get("phase", "gone"))


def told(at: ControlPlane, reason: str) -> list[str]:
    return [one["message"] for one in at.all("events") if one["reason"] == reason]


def test_a_claim_gets_the_smallest_volume_and_gives_it_back(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(claim("c"))
        await at.until(lambda: bool(told(at, "FailedBinding")))
        await at.create(volume("big", "5Gi"))
        await at.until(lambda: phase(at, CLAIMS, "c") == "Bound")
        found = at.get(CLAIMS, "c")
        assert (found["spec"]["volumeName"], found["status"]["capacity"]) == ("big", {"storage": "5Gi"})
        assert at.get(VOLUMES, "big")["spec"]["claimRef"]["uid"] == found["metadata"]["uid"]
        await at.create(claim("d"))
        await at.restart()
        await at.delete(CLAIMS, "c")
        await at.until(lambda: phase(at, VOLUMES, "big") == "Released")
        assert phase(at, CLAIMS, "c") == "gone"
        assert phase(at, CLAIMS, "d") == "Pending", "what somebody left on a volume is nobody else's"
        await at.edit(VOLUMES, "big", lambda obj: obj["spec"].pop("claimRef"))
        await at.until(lambda: phase(at, CLAIMS, "d") == "Bound")

    simulate(tmp_path, story)


def test_reclaiming_is_said_honestly(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(volume("v", persistentVolumeReclaimPolicy="Delete"), claim("c"))
        await at.until(lambda: phase(at, VOLUMES, "v") == "Bound")
        await at.delete(CLAIMS, "c")
        await at.until(lambda: phase(at, VOLUMES, "v") == "Failed")
        assert "no deletable volume plugin matched: its data is kept" in at.get(VOLUMES, "v")["status"]["message"]
        await at.delete(VOLUMES, "v")
        await at.until(lambda: phase(at, VOLUMES, "v") == "gone")

    simulate(tmp_path, story)


def test_neither_goes_while_it_is_in_use(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(volume("v"), claim("c"), user("p", "c"))
        await at.until(lambda: at.get("pods", "p")["status"]["phase"] == "Running")
        await at.delete(CLAIMS, "c")
        await at.delete(VOLUMES, "v")
        await asyncio.sleep(60)
        assert at.get(CLAIMS, "c")["metadata"]["deletionTimestamp"]
        assert at.get(VOLUMES, "v")["metadata"]["deletionTimestamp"]
        await at.delete("pods", "p")
        await at.until(lambda: phase(at, CLAIMS, "c") == "gone" and phase(at, VOLUMES, "v") == "gone")

    simulate(tmp_path, story)


def test_a_wish_for_a_volume_is_kept_and_a_volume_may_wish_too(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(volume("a"), volume("b"), claim("first", volumeName="b"), claim("second", volumeName="b"))
        await at.until(lambda: phase(at, CLAIMS, "first") == "Bound" and bool(told(at, "FailedBinding")))
        assert told(at, "FailedBinding") == ['volume "b" already bound to a different claim.']
        await at.create(claim("large", "9Gi", volumeName="a"))
        await at.until(lambda: bool(told(at, "VolumeMismatch")))
        await at.create(volume("c", claimRef={"namespace": "default", "name": "third"}))
        await at.create(claim("fourth"), claim("third"))
        await at.until(lambda: phase(at, CLAIMS, "third") == phase(at, CLAIMS, "fourth") == "Bound")
        assert at.get(CLAIMS, "third")["spec"]["volumeName"] == "c"
        await at.edit(VOLUMES, "c", lambda obj: obj["metadata"].update(finalizers=[]))
        await at.delete(VOLUMES, "c")
        await at.until(lambda: phase(at, CLAIMS, "third") == "Lost")

    simulate(tmp_path, story)


def test_a_class_may_wait_for_the_first_consumer(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        for name in at.nodes:
            await at.edit(
                "nodes",
                name,
                lambda obj: obj["metadata"].update(labels={"kubernetes.io/hostname": obj["metadata"]["name"]}),
            )
        late = storage_class("local", volumeBindingMode="WaitForFirstConsumer")
        await at.create({**late, "metadata": {"name": "local", "annotations": {
            "storageclass.kubernetes.io/is-default-class": "true"}}})  # fmt: skip
        await at.create(claim("c"), claim("d"))
        assert at.get(CLAIMS, "c")["spec"]["storageClassName"] == "local"
        await at.create(volume("one", node="edge-2", storageClassName="local"))
        await at.until(lambda: len(told(at, "WaitForFirstConsumer")) == 2)
        assert phase(at, CLAIMS, "c") == "Pending"
        await at.create(user("p", "c"))
        await at.until(lambda: at.get("pods", "p")["spec"].get("nodeName") == "edge-2")
        assert phase(at, CLAIMS, "c") == phase(at, VOLUMES, "one") == "Bound"
        await at.create(user("q", "d"))
        await at.until(lambda: bool(told(at, "FailedScheduling")))
        assert "3 node(s) didn't find available persistent volumes to bind" in told(at, "FailedScheduling")[0]
        await at.create(volume("two", node="edge-3", storageClassName="local"))
        await at.until(lambda: at.get("pods", "q")["spec"].get("nodeName") == "edge-3")
        await at.delete("pods", "p")
        await at.create(user("r", "c"))
        await at.until(lambda: at.get("pods", "r")["spec"].get("nodeName") == "edge-2")

    simulate(tmp_path, story)


def test_a_pod_waits_for_its_claims_and_is_told_why(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(user("p", "c"))
        await at.until(lambda: bool(told(at, "FailedScheduling")))
        assert 'persistentvolumeclaim "c" not found' in told(at, "FailedScheduling")[0]
        await at.create(claim("c"))
        await at.until(lambda: any("available: pod has unbound imm" in one for one in told(at, "FailedScheduling")))
        await at.create(volume("v"))
        await at.until(lambda: at.get("pods", "p")["status"]["phase"] == "Running")

    simulate(tmp_path, story)


def test_an_ephemeral_volume_is_a_claim_that_goes_with_its_pod(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        pod = user("p")
        wanted = claim("x")["spec"]
        pod["spec"]["volumes"] = [{"name": "tmp", "ephemeral": {"volumeClaimTemplate": {"spec": wanted}}}]
        await at.create(volume("v"), pod)
        await at.until(lambda: at.get("pods", "p")["status"]["phase"] == "Running")
        assert phase(at, CLAIMS, "p-tmp") == "Bound"
        await at.delete("pods", "p")
        await at.until(lambda: phase(at, CLAIMS, "p-tmp") == "gone")

    simulate(tmp_path, story)


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (volume("v", accessModes=[]), "at least 1 access mode is required"),
        (volume("v", hostPath=None), "must specify a volume type"),
        (volume("v", nfs={"server": "s", "path": "/"}), "may not specify more than 1 volume type"),
        (volume("v", "0"), "must be greater than zero"),
        (volume("v", persistentVolumeReclaimPolicy="Burn"), "supported values"),
        (claim("c", resources={}), "spec.resources\\[storage\\]: Required value"),
        (claim("c", accessModes=["Sometimes"]), "supported values"),
        (storage_class("s", volumeBindingMode="Never"), "supported values"),
    ],
)
def test_what_is_no_volume_and_no_claim_is_refused(tmp_path: Path, obj: Json, text: str) -> None:
    async def story(at: ControlPlane) -> None:
        if obj.get("spec", {}).get("hostPath", 1) is None:
            obj["spec"].pop("hostPath")
        with pytest.raises(ApiError, match=text) as refused:
            await at.create(obj)
        assert refused.value.code == 422

    simulate(tmp_path, story)


def test_a_claim_keeps_what_it_asked_for(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(claim("c"))
        with pytest.raises(ApiError, match="spec is immutable after creation"):
            await at.edit(CLAIMS, "c", lambda obj: obj["spec"]["resources"]["requests"].update(storage="2Gi"))

    simulate(tmp_path, story)


STEPS = st.lists(
    st.tuples(st.sampled_from(["volume", "claim", "drop claim", "drop volume", "free", "restart"]), st.integers(0, 4)),
    max_size=15,
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_two_claims_never_share_a_volume(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    def check(at: ControlPlane) -> None:
        held = [
            one["spec"]["volumeName"] for one in at.all(CLAIMS) if phase(at, CLAIMS, one["metadata"]["name"]) == "Bound"
        ]
        assert len(held) == len(set(held))
        for one in at.all(CLAIMS):
            found = at.get(VOLUMES, one["spec"].get("volumeName", "")).get("spec", {}).get("claimRef")
            # One that was freed by hand is taken back, a moment later.
            if one["status"]["phase"] == "Bound" and found is not None:
                assert found["name"] == one["metadata"]["name"]

    async def story(at: ControlPlane) -> None:
        acts: dict[str, Callable[[int], Awaitable[object]]] = {
            "volume": lambda n: at.create(volume(f"v{n}", f"{n + 1}Gi")),
            "claim": lambda n: at.create(claim(f"c{n}", f"{n + 1}Gi")),
            "drop claim": lambda n: at.delete(CLAIMS, f"c{n}"),
            "drop volume": lambda n: at.delete(VOLUMES, f"v{n}"),
            "free": lambda n: at.edit(VOLUMES, f"v{n}", lambda obj: obj["spec"].pop("claimRef", None)),
            "restart": lambda _: at.restart(),
        }
        for what, number in steps:
            # What is not there, or there already, is no matter here.
            with contextlib.suppress(ApiError):
                await acts[what](number)
            check(at)
            await asyncio.sleep(0.01 * number)
            check(at)
        await asyncio.sleep(5)
        check(at)

    simulate(tmp_path_factory.mktemp("volumes"), story)
