"""Taking a node out of the cluster: nothing new comes to it, its pods end, then it is forgotten.

cordon ─► delete its pods, wait ─► (its EdgeCore is stopped) ─► delete Node and Lease ─► delete what pods are left
"""

from __future__ import annotations

import time
import urllib.parse
from pathlib import Path
from typing import Any

from octoedge.keadm import cluster

PATIENCE = 40.0
"""Seconds that its pods get to end: Kubernetes' default grace and a little."""


def drain(admin: Path, name: str, patience: float = PATIENCE) -> int:
    """Let its pods end; returns how many are left when `patience` is over. Raises `InstallError`."""
    api = cluster.api_server(admin)
    if not api.change("PATCH", f"/api/v1/nodes/{name}", {"spec": {"unschedulable": True}}):
        return 0
    for pod in _pods(api, name):
        api.change("DELETE", _path(pod), {"preconditions": {"uid": pod["metadata"]["uid"]}})
    deadline = time.monotonic() + patience
    while (left := len([pod for pod in _pods(api, name) if not _comes_back(pod)])) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def forget(admin: Path, name: str) -> None:
    """Delete the Node, its lease, and the pods that it can no longer tell of. Raises `InstallError`."""
    api = cluster.api_server(admin)
    api.change("DELETE", f"/api/v1/nodes/{name}", None)
    api.change("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}", None)
    for pod in _pods(api, name):
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        api.change("DELETE", _path(pod), body)


def _pods(api: cluster.Server, name: str) -> list[dict[str, Any]]:
    query = urllib.parse.urlencode({"fieldSelector": f"spec.nodeName={name}"})
    found: list[dict[str, Any]] = api.get(f"/api/v1/pods?{query}").get("items") or []
    return found


def _comes_back(pod: dict[str, Any]) -> bool:
    """A DaemonSet's pod is made anew as long as there is the node; it is not waited for."""
    return any(owner.get("kind") == "DaemonSet" for owner in pod["metadata"].get("ownerReferences") or [])


def _path(pod: dict[str, Any]) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
