"""Services, their addresses and endpoints; budgets and what they forbid; priorities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.apiserver.behaviours.disruption import permit_eviction
from octoedge.apiserver.writing.deletion import DeleteOptions
from octoedge.apiserver.writing.rest import Place
from octoedge.errors import ApiError
from octoedge.testing.controlplane import ControlPlane, is_ready, simulate, template, workload

Json = dict[str, Any]
SLICES = "endpointslices.discovery.k8s.io"


def service(name: str = "web", **spec: Any) -> Json:
    body = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}], **spec}
    return {"kind": "Service", "apiVersion": "v1", "metadata": {"name": name}, "spec": body}


def ready_addresses(at: ControlPlane) -> set[str]:
    return {
        address
        for one in at.all(SLICES)
        for endpoint in one["endpoints"]
        if endpoint["conditions"]["ready"]
        for address in endpoint["addresses"]
    }


def addresses(at: ControlPlane) -> set[str]:
    return {pod["status"]["podIP"] for pod in at.living() if is_ready(pod)}


def test_a_service_knows_its_ready_pods(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(service(), workload("Deployment", "web", replicas=3))
        await at.until(lambda: len(ready_addresses(at)) == 3)
        assert ready_addresses(at) == addresses(at)
        one = at.all(SLICES)[0]
        assert one["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
        assert one["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
        found = at.get("endpoints", "web")["subsets"]
        assert {address["ip"] for address in found[0]["addresses"]} == addresses(at)
        at.broken = lambda _: True
        await at.edit("deployments.apps", "web", lambda obj: obj["spec"].update(replicas=5))
        await at.until(lambda: len(at.get("endpoints", "web")["subsets"][0].get("notReadyAddresses", [])) == 2)
        assert len(ready_addresses(at)) == 3
        await at.delete("deployments.apps", "web")
        await at.until(lambda: not at.all("pods") and not ready_addresses(at))
        await at.delete("services", "web")
        await at.until(lambda: not at.all(SLICES) and not at.all("endpoints"))

    simulate(tmp_path, story)


def test_a_service_says_that_a_mesh_is_missing_as_long_as_it_is(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(service())
        await at.until(lambda: bool(told(at)))
        assert at.get("services", "web")["spec"]["clusterIP"] in told(at)[0]["message"]
        await at.create(workload("Deployment", "web", replicas=3))
        await at.until(lambda: len(ready_addresses(at)) == 3)
        assert told(at)[0]["count"] == 1
        await at.until(lambda: told(at)[0]["count"] == 3, within=7200)
        pod = {"kind": "Pod", "apiVersion": "v1", **template("web")}
        pod["metadata"] = {"name": "m", "namespace": "kubeedge", "labels": {"kubeedge": "edgemesh-agent"}}
        await at.create(pod)
        await at.create(service("other"))
        await at.until(lambda: any(one["metadata"]["name"] == "other" for one in at.all("endpoints")))
        assert {one["involvedObject"]["name"] for one in told(at)} == {"web"}

    simulate(tmp_path, story)


def test_a_headless_service_needs_no_mesh_and_names_its_pods(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(service(clusterIP="None"), workload("StatefulSet", "web", replicas=2, serviceName="web"))
        await at.until(lambda: len(ready_addresses(at)) == 2)
        one = at.all(SLICES)[0]
        assert one["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
        assert sorted(endpoint["hostname"] for endpoint in one["endpoints"]) == ["web-0", "web-1"]
        assert not told(at)

    simulate(tmp_path, story)


def told(at: ControlPlane) -> list[Json]:
    return [one for one in at.all("events") if one["reason"] == "NoMesh"]


def test_a_service_without_pods_has_a_slice_with_nothing_in_it(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(service())
        await at.until(lambda: bool(at.all("endpointslices.discovery.k8s.io")), within=5)
        assert at.all("endpointslices.discovery.k8s.io")[0]["endpoints"] == []
        assert not [text for text in at.told() if text.startswith("FailedCreate")]

    simulate(tmp_path, story)


def test_named_ports_are_resolved_pod_by_pod(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(service(ports=[{"port": 80, "targetPort": "http"}], clusterIP="None"))
        for number in (1, 2):
            pod = {"kind": "Pod", "apiVersion": "v1", **template("web")}
            pod["metadata"] = {"name": f"p{number}", "labels": {"app": "web"}}
            pod["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": 8000 + number}]
            await at.create(pod)
        await at.until(lambda: len(ready_addresses(at)) == 2)
        assert sorted(one["ports"][0]["port"] for one in at.all(SLICES)) == [8001, 8002]
        assert at.get("services", "web")["spec"]["clusterIPs"] == ["None"]

    simulate(tmp_path, story)


def test_endpoints_of_a_service_without_selector_are_left_alone(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(service(selector={}))
        mine = {"kind": "Endpoints", "apiVersion": "v1", "metadata": {"name": "web"}, "subsets": []}
        await at.create(mine)
        await at.restart()
        await at.until(lambda: at.get("endpoints", "web"))
        assert "labels" not in at.get("endpoints", "web")["metadata"]

    simulate(tmp_path, story)


def test_addresses_are_given_once_and_kept(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        for number in range(20):
            await at.create(service(f"s{number}", type="NodePort"))
        found = at.all("services")
        assert len({one["spec"]["clusterIP"] for one in found}) == 20
        assert len({one["spec"]["ports"][0]["nodePort"] for one in found}) == 20
        before = at.get("services", "s0")["spec"]

        def replace(obj: Json) -> None:
            obj["spec"] = {"selector": {"app": "x"}, "ports": [{"port": 80}], "type": "NodePort"}

        await at.edit("services", "s0", replace)
        after = at.get("services", "s0")["spec"]
        assert (after["clusterIP"], after["ports"][0]["nodePort"]) == (
            before["clusterIP"],
            before["ports"][0]["nodePort"],
        )
        with pytest.raises(ApiError, match="may not change once set"):
            await at.edit("services", "s0", lambda obj: obj["spec"].update(clusterIP="10.96.3.4", clusterIPs=[]))
        with pytest.raises(ApiError, match="already allocated"):
            await at.create(service("copy", clusterIP=before["clusterIP"]))
        with pytest.raises(ApiError, match="not in the valid range"):
            await at.create(service("far", clusterIP="1.2.3.4"))

    simulate(tmp_path, story)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"ports": []}, "spec.ports: Required value"),
        ({"ports": [{"port": 1}, {"port": 2}]}, "spec.ports[0].name: Required value"),
        ({"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}, "Duplicate value"),
        ({"ports": [{"port": 70000}]}, "must be between 1 and 65535"),
        ({"type": "ExternalName"}, "spec.externalName: Required value"),
        ({"type": "Elsewhere"}, "Unsupported value"),
    ],
)
def test_what_is_wrong_with_a_service(tmp_path: Path, spec: Json, said: str) -> None:
    async def story(at: ControlPlane) -> None:
        with pytest.raises(ApiError) as refused:
            await at.create(service(**spec))
        assert said in refused.value.message

    simulate(tmp_path, story)


def budget(**spec: Any) -> Json:
    body = {"selector": {"matchLabels": {"app": "web"}}, **spec}
    return {"kind": "PodDisruptionBudget", "apiVersion": "policy/v1", "metadata": {"name": "web"}, "spec": body}


async def evict(at: ControlPlane, name: str) -> None:
    def permit(view: Any) -> Any:
        return permit_eviction(
            view, msgspec.json.decode(view.get("pods", "default", name).data), "2026-01-01T00:00:00Z"
        )

    await at.deletion.delete(Place(at.kinds.named("pods"), "default", name), DeleteOptions(), permit)


@pytest.mark.parametrize(("spec", "allowed"), [({"minAvailable": 2}, 1), ({"maxUnavailable": "34%"}, 1)])
def test_a_budget_lets_as_many_pods_go_as_it_says(tmp_path: Path, spec: Json, allowed: int) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(workload("Deployment", "web", replicas=3), budget(**spec))
        name = "poddisruptionbudgets.policy"
        await at.until(lambda: (at.get(name, "web").get("status") or {}).get("currentHealthy") == 3)
        assert at.get(name, "web")["status"]["disruptionsAllowed"] == allowed + (spec.get("maxUnavailable") is not None)

    simulate(tmp_path, story)


def test_evictions_asked_for_at_once_do_not_overdraw_a_budget(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(workload("Deployment", "web", replicas=3), budget(minAvailable=2))
        await at.until(lambda: sum(map(is_ready, at.living())) == 3)
        at.cut_off = set(at.nodes)
        first, second, _ = (pod["metadata"]["name"] for pod in at.living())
        await evict(at, first)
        assert at.get("poddisruptionbudgets.policy", "web")["status"]["disruptionsAllowed"] == 0
        with pytest.raises(ApiError) as refused:
            await evict(at, second)
        assert (refused.value.code, refused.value.details["causes"][0]["reason"]) == (429, "DisruptionBudget")
        at.cut_off = set()
        await at.until(lambda: sum(map(is_ready, at.living())) == 3)
        await evict(at, second)

    simulate(tmp_path, story)


def test_a_pod_gets_the_priority_of_its_class(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        assert len(at.all("priorityclasses.scheduling.k8s.io")) == 2
        mine = {"kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "metadata": {"name": "mine"}, "value": 7}
        await at.create(mine)
        spec = template("web", priorityClassName="mine")
        await at.create(workload("Deployment", "web", template=spec))
        await at.until(lambda: len(at.living()) == 1)
        assert at.living()[0]["spec"]["priority"] == 7
        await at.create(workload("Deployment", "lost", template={**template("lost", priorityClassName="none")}))
        await at.until(lambda: any("no PriorityClass with name none was found" in text for text in at.told()))

    simulate(tmp_path, story)
