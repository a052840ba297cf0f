"""Which addresses answer for a Service: pure.

`Service × Pods ──► groups of endpoints with the same ports`, from which Endpoints and EndpointSlices are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from octoedge.apiserver.controllers import pods as facts
from octoedge.apiserver.writing.ownership import is_leaving

Json = dict[str, Any]

PER_SLICE = 100


def chooses(service: Json, labels: Any) -> bool:
    """Whether the selector of a Service chooses a Pod with these labels."""
    selector = (service.get("spec") or {}).get("selector") or {}
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def groups(service: Json, pods: Iterable[Json]) -> list[tuple[list[Json], list[Json]]]:
    """(ports, endpoints) for every set of port numbers that Pods resolve the Service's ports to."""
    found: dict[tuple[Any, ...], tuple[list[Json], list[Json]]] = {}
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"])):
        if facts.is_finished(pod) or not (pod.get("status") or {}).get("podIP"):
            continue
        ports = list(_ports(service, pod))
        if not ports and service["spec"].get("ports"):
            continue
        key = tuple((port.get("name"), port["protocol"], port["port"]) for port in ports)
        found.setdefault(key, (ports, []))[1].append(_endpoint(service, pod))
    return [found[key] for key in sorted(found, key=str)]


def slices(service: Json, pods: Iterable[Json]) -> list[Json]:
    """The content of the EndpointSlices of a Service; one without endpoints when there are none."""
    parts = [
        {"ports": [dict(port) for port in ports], "endpoints": endpoints[start : start + PER_SLICE]}
        for ports, endpoints in groups(service, pods)
        for start in range(0, len(endpoints), PER_SLICE)
    ]
    return parts or [{"ports": [], "endpoints": []}]


def subsets(service: Json, pods: Iterable[Json]) -> list[Json]:
    """The content of the Endpoints of a Service."""
    found = []
    for ports, endpoints in groups(service, pods):
        subset: Json = {}
        for endpoint in endpoints:
            if endpoint["conditions"]["terminating"] and not endpoint["conditions"]["ready"]:
                continue
            word = "addresses" if endpoint["conditions"]["ready"] else "notReadyAddresses"
            address = {"ip": endpoint["addresses"][0], "targetRef": endpoint["targetRef"]}
            for field in ("hostname", "nodeName"):
                if endpoint.get(field):
                    address[field] = endpoint[field]
            subset.setdefault(word, []).append(address)
        if subset:
            found.append({**subset, **({"ports": [dict(port) for port in ports]} if ports else {})})
    return found


def _ports(service: Json, pod: Json) -> Iterator[Json]:
    for port in service["spec"].get("ports") or []:
        target, protocol = port.get("targetPort") or port["port"], port.get("protocol") or "TCP"
        number = target if isinstance(target, int) else _named(pod, target, protocol)
        if number:
            kept = {key: port[key] for key in ("appProtocol",) if port.get(key)}
            yield {**({"name": port["name"]} if port.get("name") else {}), "port": number, "protocol": protocol, **kept}


def _named(pod: Json, name: str, protocol: str) -> int:
    for container in pod["spec"].get("containers") or []:
        for port in container.get("ports") or []:
            if port.get("name") == name and (port.get("protocol") or "TCP") == protocol:
                return int(port["containerPort"])
    return int(name) if name.isdecimal() else 0


def _endpoint(service: Json, pod: Json) -> Json:
    about, spec = pod["metadata"], pod["spec"]
    ready, leaving = facts.is_ready(pod), is_leaving(pod)
    published = bool(service["spec"].get("publishNotReadyAddresses"))
    endpoint: Json = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": published or (ready and not leaving), "serving": ready, "terminating": leaving},
        "targetRef": {"kind": "Pod", "namespace": about["namespace"], "name": about["name"], "uid": about["uid"]},
    }
    if spec.get("nodeName"):
        endpoint["nodeName"] = spec["nodeName"]
    if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]:
        endpoint["hostname"] = spec["hostname"]
    return endpoint
