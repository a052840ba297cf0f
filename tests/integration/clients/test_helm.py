"""helm 3 and helm 4 with a chart of hooks, a CRD, lookups and capabilities: a release from install to uninstall."""

from __future__ import annotations

import json
from pathlib import Path

from octoedge.testing.kubectl import Tool

CHART = Path(__file__).parent / "chart"


def test_a_release_lives_its_life(helm: Tool, kubectl_132: Tool) -> None:
    kubectl = kubectl_132
    said = helm(f"install r {CHART} --wait --timeout 40s")
    assert "STATUS: deployed" in said
    assert kubectl("get deployment r -o jsonpath={.status.availableReplicas}") == "2"
    data = kubectl.get("configmap r")["data"]
    assert data == {"greeting": "hello", "cluster": data["cluster"], "apps": "true", "found": "kube-root-ca.crt"}
    assert data["cluster"].startswith("v1.32.")
    assert kubectl("get gauge r -o jsonpath={.spec.top}") == "3"
    assert kubectl("get job r-before -o jsonpath={.status.succeeded}") == "1"
    assert kubectl("get configmap/r-after secret/r-extra -o name") == "configmap/r-after\nsecret/r-extra\n"

    helm(f"upgrade r {CHART} --set image=app:v2,replicas=1,extra=false,greeting=bye --wait --timeout 40s")
    assert (
        kubectl("get deployment r -o jsonpath='{.spec.replicas} {.spec.template.spec.containers[0].image}'")
        == "1 app:v2"
    )
    assert "NotFound" in kubectl.refused("get secret r-extra")
    assert [one["revision"] for one in json.loads(helm("history r -o json"))] == [1, 2]
    assert json.loads(helm("list -o json"))[0]["status"] == "deployed"
    assert json.loads(helm("status r -o json"))["info"]["status"] == "deployed"
    assert "greeting: bye" in helm("get values r")
    assert "kind: Deployment" in helm("get manifest r")
    assert "pre-install" in helm("get hooks r")

    assert "Rollback was a success" in helm("rollback r 1 --wait --timeout 40s")
    assert kubectl("get deployment r -o jsonpath='{.spec.template.spec.containers[0].image}'") == "app:v1"
    assert kubectl("get secret r-extra -o jsonpath={.data.key}") == "dmFsdWU="
    assert "Succeeded" in helm("test r --timeout 40s")

    assert "uninstalled" in helm("uninstall r --wait --timeout 40s")
    assert "NotFound" in kubectl.refused("get deployment r")
    assert kubectl("get secret -o name") == ""
    assert kubectl("get crd gauges.charts.example.com -o name")
    assert json.loads(helm("list -o json")) == []


def test_what_does_not_become_ready_is_a_failed_release(helm: Tool) -> None:
    said = helm.refused(f"install r {CHART} --set 'command={{never-ready}}' --wait --timeout 4s")
    assert "INSTALLATION FAILED" in said
    assert json.loads(helm("status r -o json"))["info"]["status"] == "failed"
    said = helm.refused(f"upgrade r {CHART} --set gauge=30")
    assert "should be less than or equal to 10" in said
    helm(f"upgrade r {CHART} --reset-values --wait --timeout 40s")
    assert "a name that is still in use" in helm.refused(f"install r {CHART}")
    helm("uninstall r")
    assert "DEPLOYED" in helm(f"upgrade --install r {CHART} --take-ownership --set replicas=0").upper()
    helm("uninstall r --keep-history")
    assert json.loads(helm("list --uninstalled -o json"))[0]["status"] == "uninstalled"


def test_dry_runs_templates_and_secrets_of_releases(helm: Tool, kubectl_132: Tool) -> None:
    assert "kind: Deployment" in helm(f"template r {CHART}")
    assert "kube-root-ca.crt" in helm(f"install r {CHART} --dry-run=server")
    assert "release: not found" in helm.refused("status r")
    helm(f"install r {CHART} --set replicas=0")
    assert kubectl_132("get secret -l owner=helm -o jsonpath='{.items[*].type}'") == "helm.sh/release.v1"
    done = helm.run(f"install other {CHART} --set replicas=0 --name-template=r")
    assert done.status != 0
