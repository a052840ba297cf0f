"""LimitRanges and ResourceQuotas: what a namespace gives, bounds and counts; on a whole control plane."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from octoedge.errors import ApiError
from octoedge.testing.controlplane import ControlPlane, simulate, workload

Json = dict[str, Any]


def pod(name: str, requests: Json | None = None, limits: Json | None = None, **spec: Any) -> Json:
    resources = {key: value for key, value in (("requests", requests), ("limits", limits)) if value}
    body = {"containers": [{"name": "c", "image": "i", "resources": resources}], **spec}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": body}


def limit_range(**item: Any) -> Json:
    spec = {"limits": [{"type": "Container", **item}]}
    return {"kind": "LimitRange", "apiVersion": "v1", "metadata": {"name": "limits"}, "spec": spec}


def quota(name: str = "q", scopes: list[str] | None = None, **hard: str) -> Json:
    spec = {"hard": {key.replace("__", "/").replace("_", "."): value for key, value in hard.items()}}
    spec |= {"scopes": scopes} if scopes else {}  # type: ignore[dict-item]
    return {"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}


def test_containers_get_what_the_namespace_gives(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(limit_range(default={"cpu": "500m"}, defaultRequest={"cpu": "100m"}, max={"memory": "1Gi"}))
        await at.create(pod("plain"), pod("own", limits={"cpu": "2", "memory": "1Gi"}))
        given = at.get("pods", "plain")
        assert given["spec"]["containers"][0]["resources"] == {
            "limits": {"cpu": "500m", "memory": "1Gi"},
            "requests": {"cpu": "100m", "memory": "1Gi"},
        }
        assert given["status"]["qosClass"] == "Burstable"
        own = at.get("pods", "own")["spec"]["containers"][0]["resources"]
        assert own["requests"] == {"cpu": "2", "memory": "1Gi"}

    simulate(tmp_path, story)


@pytest.mark.parametrize(
    ("item", "asked", "text"),
    [
        ({"max": {"cpu": "1"}}, pod("p", limits={"cpu": "2"}), "maximum cpu usage per Container is 1, but limit is 2"),
        (
            {"min": {"cpu": "200m"}},
            pod("p", {"cpu": "100m"}),
            "minimum cpu usage per Container is 200m, but request is 100m",
        ),
        (
            {"type": "Pod", "max": {"memory": "1Gi"}},
            pod("p"),
            "maximum memory usage per Pod is 1Gi.  No limit is specified",
        ),
        (
            {"maxLimitRequestRatio": {"cpu": "2"}},
            pod("p", {"cpu": "1"}, {"cpu": "3"}),
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3.0",
        ),
    ],
)
def test_what_is_out_of_bounds_is_refused(tmp_path: Path, item: Json, asked: Json, text: str) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(limit_range(**item))
        with pytest.raises(ApiError) as refused:
            await at.create(asked)
        assert refused.value.code == 403
        assert text in refused.value.message

    simulate(tmp_path, story)


def test_a_quota_counts_what_is_asked_for(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(quota(pods="2", requests_cpu="1", count__secrets="1"))
        with pytest.raises(ApiError, match=r"failed quota: q: must specify requests\.cpu for: c"):
            await at.create(pod("silent"))
        await at.create(pod("a", {"cpu": "600m"}))
        with pytest.raises(ApiError) as refused:
            await at.create(pod("b", {"cpu": "600m"}))
        assert refused.value.message == (
            'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, '
            "limited: requests.cpu=1"
        )
        await at.create(pod("c", {"cpu": "100m"}))
        await at.until(lambda: at.get("resourcequotas", "q").get("status", {}).get("used", {}).get("pods") == "2")
        assert at.get("resourcequotas", "q")["status"]["used"]["requests.cpu"] == "700m"
        with pytest.raises(ApiError, match="requested: pods=1, used: pods=2, limited: pods=2"):
            await at.create(pod("d", {"cpu": "100m"}))
        await at.delete("pods", "a")
        await at.until(lambda: not at.get("pods", "a"))
        await at.create(pod("d", {"cpu": "100m"}))
        await at.create({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "one"}})
        with pytest.raises(ApiError, match="count/secrets=1"):
            await at.create({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "two"}})

    simulate(tmp_path, story)


def test_a_controller_that_makes_many_at_once_stays_within(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(quota(pods="3"), workload("Deployment", "web", replicas=10))
        await asyncio.sleep(60)
        assert len(at.all("pods")) == 3
        told = [one["message"] for one in at.all("events") if one["reason"] == "FailedCreate"]
        assert any("exceeded quota: q" in one for one in told)

    simulate(tmp_path, story)


def test_sums_are_exact_and_sidecars_count(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(quota(requests_cpu="2k"))
        sidecar = {"name": "s", "image": "i", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1000"}}}
        await at.create(pod("large", {"cpu": "1m"}, initContainers=[sidecar]), pod("small", {"cpu": "500m"}))
        await at.until(lambda: "1000501m" in (at.get("resourcequotas", "q").get("status") or {})["used"].values())
        with pytest.raises(ApiError, match=r"requested: requests.cpu=1k, used: requests.cpu=1000501m"):
            await at.create(pod("another", {"cpu": "1k"}))

    simulate(tmp_path, story)


def test_scopes_choose_pods(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(quota("best", ["BestEffort"], pods="0"))
        await at.create(pod("fine", {"cpu": "1m"}))
        with pytest.raises(ApiError, match="exceeded quota: best"):
            await at.create(pod("poor"))

    simulate(tmp_path, story)
