"""Endpoints and EndpointSlices: the addresses behind every Service that has a selector."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from octoedge.apiserver.behaviours import services
from octoedge.apiserver.controllers.controller import Concern, Controller, Key
from octoedge.apiserver.controllers.plans import endpoints as plan
from octoedge.apiserver.controllers.turn import Hands, Turn, decoded
from octoedge.apiserver.writing.ownership import CONTROLLER, is_leaving, reference
from octoedge.kube.read import Item

Json = dict[str, Any]

ENDPOINTS = "endpoints"
SLICES = "endpointslices.discovery.k8s.io"
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
ENDPOINTS_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
ENDPOINTS_MANAGER = "endpoint-controller"
_HEADLESS = "service.kubernetes.io/headless"
MESHES = frozenset({"kube-proxy", "edgemesh-agent"})
"""By one of these, as any label, the pods of a mesh are known."""
MESH_NAMESPACES = ("kubeedge", "kube-system")
REMIND = 3000.0
"""Seconds; events are kept for an hour."""
_SAFE = "bcdfghjklmnpqrstvwxz2456789"


def endpoints_controller(hands: Hands) -> Controller:
    """The module."""
    controller = Controller("endpoints-controller", "services", hands, reconcile, remove)
    return controller.attend("pods", _services_of(hands)).attend(SLICES, _named).attend(ENDPOINTS, _same_name)


def _services_of(hands: Hands) -> Concern:
    def concern(item: Item) -> Iterable[Key]:
        services = hands.rest.backend.items("services", item.namespace)
        return [one.key for one in services if plan.chooses(decoded(one), item.labels)]

    return concern


def _named(item: Item) -> Iterable[Key]:
    """A slice that somebody changed or removed is put right."""
    ours = item.labels.get(MANAGED_BY) == MANAGER and SERVICE_NAME in item.labels
    return [(item.namespace, item.labels[SERVICE_NAME])] if ours else []


def _same_name(item: Item) -> Iterable[Key]:
    return [item.key]


def remove(turn: Turn, key: Key) -> None:
    """The Service is gone: so are its Endpoints. Its slices are the garbage collector's."""
    found = turn.get(ENDPOINTS, *key)
    if found is not None and _is_ours(found):
        turn.delete(ENDPOINTS, found)


def reconcile(turn: Turn, service: Json) -> None:
    """One turn of one Service. One without a selector has endpoints of its user's making."""
    spec = service["spec"]
    if not spec.get("selector") or spec.get("type") == "ExternalName" or is_leaving(service):
        return
    namespace = service["metadata"]["namespace"]
    items = [item for item in turn.items("pods", namespace) if plan.chooses(service, item.labels)]
    pods = [decoded(item) for item in items]
    _explain(turn, service)
    _write_endpoints(turn, service, pods)
    _write_slices(turn, service, pods)


def _explain(turn: Turn, service: Json) -> None:
    """`kubectl describe service` says why nothing comes of a Service with an address where no mesh runs."""
    address = service["spec"].get("clusterIP")
    if address == "None":
        return  # its name is answered on the nodes
    meshes = (item for namespace in MESH_NAMESPACES for item in turn.items("pods", namespace))
    if any(MESHES & set(item.labels.values()) for item in meshes):
        return
    text = (
        f"No mesh (EdgeMesh, kube-proxy with DNS) runs on the nodes, so {address} leads nowhere and its name does not"
        " resolve. Names of headless Services (clusterIP: None) do, on each node; from elsewhere pods are reached by"
        " host ports at their node."
    )
    turn.remind(service, "NoMesh", text, REMIND)


def _write_endpoints(turn: Turn, service: Json, pods: list[Json]) -> None:
    about = service["metadata"]
    labels = {**(about.get("labels") or {}), ENDPOINTS_MANAGED_BY: ENDPOINTS_MANAGER, **_headless(service)}
    subsets = plan.subsets(service, pods)
    body = {"kind": "Endpoints", "apiVersion": "v1", **({"subsets": subsets} if subsets else {})}
    present = turn.get(ENDPOINTS, about["namespace"], about["name"])
    if present is None:
        metadata = {"name": about["name"], "namespace": about["namespace"], "labels": labels}
        turn.create(ENDPOINTS, {**body, "metadata": metadata}, service, told="")
    else:
        turn.put(ENDPOINTS, {**body, "metadata": {**present["metadata"], "labels": labels}})


def _write_slices(turn: Turn, service: Json, pods: list[Json]) -> None:
    about = service["metadata"]
    labels = {**(about.get("labels") or {}), SERVICE_NAME: about["name"], MANAGED_BY: MANAGER, **_headless(service)}
    wanted = {_slice_name(about, index): one for index, one in enumerate(plan.slices(service, pods))}
    present = {
        item.name: decoded(item)
        for item in turn.items(SLICES, about["namespace"])
        if item.fields.get(CONTROLLER) == about["uid"]
    }
    for name, content in wanted.items():
        body = {"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4", **content}
        services.normalize_slice(body)
        if name in present:
            turn.put(SLICES, {**body, "metadata": {**present[name]["metadata"], "labels": labels}})
        else:
            owner = [reference(service)]
            metadata = {"name": name, "namespace": about["namespace"], "labels": labels, "ownerReferences": owner}
            turn.create(SLICES, {**body, "metadata": metadata}, service, told="")
    for name, obj in present.items():
        if name not in wanted:
            turn.delete(SLICES, obj)


def _slice_name(about: Json, index: int) -> str:
    number = int.from_bytes(hashlib.sha256(f"{about['uid']} {index}".encode()).digest()[:8], "big")
    return f"{about['name'][:57]}-" + "".join(_SAFE[number // 27**place % 27] for place in range(5))


def _headless(service: Json) -> Json:
    return {_HEADLESS: ""} if service["spec"].get("clusterIP") == "None" else {}


def _is_ours(obj: Json) -> bool:
    return (obj["metadata"].get("labels") or {}).get(ENDPOINTS_MANAGED_BY) == ENDPOINTS_MANAGER
