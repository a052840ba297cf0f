"""A namespace goes when nothing is left in it, and says what holds it up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from octoedge.testing.controlplane import ControlPlane, simulate, template

Json = dict[str, Any]


def said(at: ControlPlane) -> dict[str, str]:
    conditions = at.get("namespaces", "team", "").get("status", {}).get("conditions") or []
    return {one["type"]: f"{one['status']} {one['message']}" for one in conditions}


def test_it_goes_with_all_that_is_in_it_and_says_what_is_left(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "team"}})
        pod = {"kind": "Pod", "apiVersion": "v1", **template("web")}
        pod["metadata"] = {"name": "web", "namespace": "team"}
        held = {"name": "held", "namespace": "team", "finalizers": ["example.com/hold"]}
        await at.create(pod, {"kind": "ConfigMap", "apiVersion": "v1", "metadata": held})
        await at.until(lambda: at.get("pods", "web", "team")["status"]["phase"] == "Running")
        at.cut_off = set(at.nodes)
        await at.delete("namespaces", "team")
        await at.until(lambda: "NamespaceContentRemaining" in said(at), within=10)
        assert said(at) == {
            "NamespaceContentRemaining": (
                "True Some resources are remaining: configmaps has 1 resource instances, pods has 1 resource instances"
            ),
            "NamespaceFinalizersRemaining": (
                "True Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
            ),
        }
        await at.restart()
        at.cut_off = set()
        await at.until(lambda: not at.get("pods", "web", "team"), within=30)

        def let_go(obj: Json) -> Json:
            del obj["metadata"]["finalizers"]
            return obj

        await at.rest.edit(at.place("configmaps", "held", "team"), let_go, {})
        await at.until(lambda: not at.get("namespaces", "team", ""), within=30)

    simulate(tmp_path, story)
