"""Where clients on a node find the Kubernetes API: `default/kubernetes` names the node's MetaServer, as KubeEdge has it
(spec: metadata, section 4.5). Pure: bytes of an object, a list, or a batch of changes in, bytes out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

Json = dict[str, Any]

_NAME, _NAMESPACE = "kubernetes", "default"
_MARK = b'"kubernetes"'
_SERVICE = "kubernetes.io/service-name"


def names_it(group: str, plural: str) -> bool:
    """Whether objects of this kind say where the API is."""
    return (group, plural) in _KINDS


def shown_at(body: bytes, group: str, plural: str, address: tuple[str, int]) -> bytes:
    """The same, with the API at (IP, port); what is about other Services, or no such kind, as it was."""
    change = _KINDS.get((group, plural))
    if change is None or _MARK not in body:
        return body
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body
    found = [one for one in _objects(decoded) if _is_it(one)]
    for one in found:
        change(one, *address)
    return msgspec.json.encode(decoded) if found else body


def _objects(decoded: Any) -> list[Json]:
    """The objects of a list, of a batch of changes, or the one that it is."""
    if not isinstance(decoded, dict):
        return []
    for name in ("items", "events"):
        within = decoded.get(name)
        if isinstance(within, list):
            return [one for each in within for one in (_inner(each, name),) if isinstance(one, dict)]
    return [decoded]


def _inner(each: Any, name: str) -> Any:
    return each.get("object") if name == "events" and isinstance(each, dict) else each


def _is_it(obj: Json) -> bool:
    meta = obj.get("metadata")
    if not isinstance(meta, dict) or meta.get("namespace") != _NAMESPACE:
        return False
    labels = meta.get("labels")
    return meta.get("name") == _NAME or (isinstance(labels, dict) and labels.get(_SERVICE) == _NAME)


def _slice(obj: Json, host: str, port: int) -> None:
    obj["addressType"] = f"IPv{ipaddress.ip_address(host).version}"
    obj["endpoints"] = [{"addresses": [host], "conditions": {"ready": True}}]
    obj["ports"] = [_port(port)]


def _endpoints(obj: Json, host: str, port: int) -> None:
    obj["subsets"] = [{"addresses": [{"ip": host}], "ports": [_port(port)]}]


def _port(port: int) -> Json:
    return {"name": "https", "port": port, "protocol": "TCP"}


_KINDS: Mapping[tuple[str, str], Callable[[Json, str, int], None]] = {
    ("discovery.k8s.io", "endpointslices"): _slice,
    ("", "endpoints"): _endpoints,
}
