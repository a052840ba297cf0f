"""What goes along to another cluster, and what stays."""

from __future__ import annotations

from typing import Any

import pytest

from octoedge.kube.manifests import file_of, portable


def _obj(kind: str, name: str = "x", meta: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    given = {"uid": "u", "resourceVersion": "7", "generation": 1, "creationTimestamp": "now", "managedFields": []}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **given, **(meta or {})}, **more}


OWNED = {"ownerReferences": [{"kind": "ReplicaSet", "name": "web-1", "controller": True}]}
STAYS = [
    _obj("Event"),
    _obj("EndpointSlice"),
    _obj("Pod", meta=OWNED, spec={}),
    _obj("ReplicaSet", meta=OWNED),
    _obj("Pod", meta={"annotations": {"kubernetes.io/config.mirror": "1"}}, spec={}),
    _obj("Pod", spec={}, status={"phase": "Succeeded"}),
    _obj("Job", spec={}, status={"conditions": [{"type": "Complete", "status": "True"}]}),
    _obj("Namespace", "kube-system"),
    _obj("ConfigMap", "kube-root-ca.crt"),
    _obj("ServiceAccount", "default"),
    _obj("ClusterRole", "view", {"labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}),
    _obj("ClusterRole", "system:kubeedge:cloudcore"),
    _obj("Secret", type="kubernetes.io/service-account-token"),
    _obj("ConfigMap", meta={"deletionTimestamp": "now"}),
]


@pytest.mark.parametrize("obj", STAYS, ids=lambda obj: f"{obj['kind']}-{obj['metadata']['name']}")
def test_what_the_other_cluster_makes_itself_stays(obj: dict[str, Any]) -> None:
    assert portable(obj) is None


def test_what_a_user_wrote_goes_along_and_what_the_cluster_gave_does_not() -> None:
    volume, token = {"name": "data", "emptyDir": {}}, {"name": "kube-api-access-x1", "projected": {}}
    mounts = [{"name": one["name"], "mountPath": f"/{one['name']}"} for one in (volume, token)]
    spec = {
        "nodeName": "edge-1",
        "serviceAccountName": "runner",
        "serviceAccount": "runner",
        "volumes": [volume, token],
        "containers": [{"name": "c", "volumeMounts": mounts}],
    }
    pod = _obj("Pod", "web", {"namespace": "shop", "labels": {"app": "web"}}, spec=spec, status={"phase": "Running"})
    assert portable(pod) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {
            "nodeName": "edge-1",
            "serviceAccountName": "runner",
            "volumes": [volume],
            "containers": [{"name": "c", "volumeMounts": mounts[:1]}],
        },
    }
    assert "uid" in pod["metadata"], "the original is left alone"


def test_addresses_and_bonds_of_the_old_cluster_are_cut() -> None:
    service = portable(_obj("Service", spec={"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": []}))
    assert service is not None
    assert service["spec"] == {"ports": []}
    headless = portable(_obj("Service", spec={"clusterIP": "None"}))
    assert headless is not None
    assert headless["spec"] == {"clusterIP": "None"}
    claim = {"name": "data", "namespace": "default", "uid": "u", "resourceVersion": "3"}
    volume = portable(_obj("PersistentVolume", spec={"claimRef": claim}))
    assert volume is not None
    assert volume["spec"]["claimRef"] == {"name": "data", "namespace": "default"}
    labels = {"app": "x", "controller-uid": "u"}
    job = portable(
        _obj("Job", meta={"labels": labels}, spec={"selector": {}, "template": {"metadata": {"labels": labels}}})
    )
    assert job is not None
    assert job["spec"] == {"template": {"metadata": {"labels": {"app": "x"}}}}


def test_files_are_created_in_the_order_of_what_needs_what() -> None:
    kinds = ("Namespace", "CustomResourceDefinition", "ServiceAccount", "Secret", "Node", "Device", "Deployment")
    files = [file_of(kind) for kind in kinds]
    assert files == sorted(files)
    assert len(set(files)) == len(files)
