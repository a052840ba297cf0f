"""Service accounts: every namespace has a default one and the CA to trust; every Pod gets one and its token volume."""

from __future__ import annotations

import secrets
import uuid
from typing import Any

import msgspec

from octoedge.apiserver.store.backend import View
from octoedge.errors import ApiError, forbidden

Json = dict[str, Any]

ROOT_CA = "kube-root-ca.crt"
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 (a path)
TOKEN_SECONDS = 3607
"""An odd number of seconds, as in Kubernetes: tokens that were asked for by this volume can be told from others."""
_MIRROR = "kubernetes.io/config.mirror"
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"


def default_account(namespace: str, now: str) -> Json:
    """The ServiceAccount `default` of a namespace."""
    return {
        "kind": "ServiceAccount",
        "apiVersion": "v1",
        "metadata": _metadata("default", namespace, now),
    }


def root_ca(namespace: str, certificate: str, now: str) -> Json:
    """The ConfigMap with the CA that Pods trust."""
    text = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints."
    metadata = {**_metadata(ROOT_CA, namespace, now), "annotations": {"kubernetes.io/description": text}}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"ca.crt": certificate}}


def new_namespace(obj: Json, view: View, now: str) -> list[tuple[str, Json]]:
    """What is made together with a namespace, so that a Pod applied in the same breath finds it."""
    name = obj["metadata"]["name"]
    company: list[tuple[str, Json]] = []
    if view.get("serviceaccounts", name, "default") is None:
        company.append(("serviceaccounts", default_account(name, now)))
    model = view.get("configmaps", "kube-system", ROOT_CA)
    if model is not None and view.get("configmaps", name, ROOT_CA) is None:
        certificate = msgspec.json.decode(model.data)["data"]["ca.crt"]
        company.append(("configmaps", root_ca(name, certificate, now)))
    return company


def admit_pod(obj: Json, view: View) -> None:
    """Give the Pod its service account and the token volume, as Kubernetes' admission does."""
    metadata, spec = obj["metadata"], obj["spec"]
    if _MIRROR in (metadata.get("annotations") or {}):
        return
    name = spec.get("serviceAccountName") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    item = view.get("serviceaccounts", metadata["namespace"], name)
    if item is None:
        raise forbidden(
            f'pods "{metadata.get("name") or metadata.get("generateName", "")}" is forbidden: error looking up service '
            f'account {metadata["namespace"]}/{name}: serviceaccount "{name}" not found'
        )
    account = msgspec.json.decode(item.data)
    if "imagePullSecrets" not in spec and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = account["imagePullSecrets"]
    if spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True)):
        _mount_token(spec)


def check_namespace(view: View, namespace: str, plural: str, name: str) -> None:
    """Refuse a new object where its namespace is not there or is going away."""
    item = view.get("namespaces", "", namespace)
    if item is None:
        raise ApiError(
            404, "NotFound", f'namespaces "{namespace}" not found', {"name": namespace, "kind": "namespaces"}
        )
    if item.fields.get("status.phase") == "Terminating":
        raise forbidden(
            f'{plural} "{name}" is forbidden: unable to create new content in namespace {namespace} because it is '
            "being terminated",
            {
                "name": name,
                "kind": plural,
                "causes": [{"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated"}],
            },
        )


def _metadata(name: str, namespace: str, now: str) -> Json:
    return {"name": name, "namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now}


def _mount_token(spec: Json) -> None:
    containers = [*spec.get("initContainers", []), *spec.get("containers", [])]
    without = [one for one in containers if not _has_token(one)]
    if not without:
        return
    name = "kube-api-access-" + "".join(secrets.choice(_SUFFIX) for _ in range(5))
    for container in without:
        container.setdefault("volumeMounts", []).append({"name": name, "readOnly": True, "mountPath": TOKEN_PATH})
    spec.setdefault("volumes", []).append({"name": name, "projected": _projection()})


def _has_token(container: Json) -> bool:
    return any(mount.get("mountPath") == TOKEN_PATH for mount in container.get("volumeMounts") or [])


def _projection() -> Json:
    return {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [
                        {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                    ]
                }
            },
        ],
    }
