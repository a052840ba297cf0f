"""The rules of Services: what the server fills in, the addresses it gives, and what is Invalid.

A ClusterIP is an address in the API. Packets to it go somewhere only where a mesh (EdgeMesh, kube-proxy) runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Any

import msgspec

from octoedge.apiserver.store.backend import View
from octoedge.apiserver.writing.metadata import Cause, duplicate, required, wrong
from octoedge.errors import ApiError, invalid

Json = dict[str, Any]

CLUSTER_IPS = IPv4Network("10.96.0.0/12")
NODE_PORTS = range(30000, 32768)
_RESERVED = 10
"""Addresses at the beginning of the range that are not given: the first is the API server's, as in Kubernetes."""
_OUTSIDE = ("NodePort", "LoadBalancer")


def normalize(obj: Json) -> None:
    """What depends on other fields of a Service."""
    spec = obj["spec"]
    for port in spec.get("ports") or []:
        if not port.get("targetPort"):
            port["targetPort"] = port.get("port")
    if spec.get("type") != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec.get("type") in _OUTSIDE:
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec.get("type") == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    if spec.get("sessionAffinity") == "ClientIP":
        spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {}).setdefault("timeoutSeconds", 10800)


def normalize_slice(obj: Json) -> None:
    """A port of an EndpointSlice has a name, if only an empty one: kubectl relies on it."""
    for port in obj.get("ports") or []:
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def prepare(obj: Json) -> None:
    """A new Service has no load balancer."""
    obj["status"] = {"loadBalancer": {}}


def allocate(obj: Json, view: View) -> None:
    """Give a Service its ClusterIP and node ports, or check those that it asks for."""
    spec = obj["spec"]
    if spec.get("type") == "ExternalName":
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            spec.pop(field, None)
        return
    others = [item for item in view.items("services") if item.key != _key(obj)]
    wished = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "")
    if wished != "None":
        taken = {item.fields.get("spec.clusterIP") for item in others}
        wished = _checked(obj, wished, taken) if wished else _free_address(obj["metadata"].get("uid", ""), taken)
    spec["clusterIP"], spec["clusterIPs"] = wished, [wished]
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if spec.get("type") in _OUTSIDE:
        _give_node_ports(obj, [msgspec.json.decode(item.data) for item in others])
    else:
        for port in spec.get("ports") or []:
            port.pop("nodePort", None)


def carry(new: Json, old: Json, view: View) -> None:
    """Keep the addresses that an update left out; give those that a new type needs."""
    before, after = old.get("spec") or {}, new.setdefault("spec", {})
    if after.get("type", "ClusterIP") != "ExternalName" and before.get("type") != "ExternalName":
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if not after.get(field) and before.get(field):
                after[field] = before[field]
    known = {_port_key(port): port.get("nodePort") for port in before.get("ports") or []}
    if after.get("type") in _OUTSIDE:
        for port in after.get("ports") or []:
            if not port.get("nodePort") and known.get(_port_key(port)):
                port["nodePort"] = known[_port_key(port)]
    allocate(new, view)


def check(obj: Json) -> list[Cause]:
    """What is wrong with a Service."""
    spec = obj.get("spec") or {}
    ports = spec.get("ports") or []
    causes = []
    if spec.get("type") == "ExternalName":
        if not spec.get("externalName"):
            causes.append(required("spec.externalName"))
    elif not ports and spec.get("clusterIP") != "None":
        causes.append(required("spec.ports"))
    seen: set[Any] = set()
    names: set[str] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        causes += _port(port, path, named=len(ports) > 1)
        if _port_key(port) in seen:
            causes.append(duplicate(path, f"{port.get('port')}/{port.get('protocol')}"))
        if port.get("name") and port["name"] in names:
            causes.append(duplicate(f"{path}.name", port["name"]))
        seen.add(_port_key(port))
        names.add(port.get("name") or "")
    return causes


def check_update(new: Json, old: Json) -> list[Cause]:
    """The ClusterIP of a Service stays, unless it becomes a name for something outside."""
    before, after = old.get("spec") or {}, new.get("spec") or {}
    causes = check(new)
    kept = before.get("type") != "ExternalName" and after.get("type") != "ExternalName"
    if kept and before.get("clusterIP") and before["clusterIP"] != after.get("clusterIP"):
        causes.append(wrong("spec.clusterIPs[0]", after.get("clusterIP"), "may not change once set"))
    return causes


def _port(port: Json, path: str, *, named: bool) -> list[Cause]:
    causes = []
    if named and not port.get("name"):
        causes.append(required(f"{path}.name"))
    for field in ("port", "targetPort"):
        number = port.get(field)
        if isinstance(number, int) and not 0 < number < 65536:
            causes.append(wrong(f"{path}.{field}", number, "must be between 1 and 65535, inclusive"))
    return causes


def _port_key(port: Json) -> tuple[Any, str]:
    return (port.get("port"), port.get("protocol") or "TCP")


def _key(obj: Json) -> tuple[str, str]:
    return (obj["metadata"].get("namespace", ""), obj["metadata"].get("name", ""))


def _free_address(uid: str, taken: Iterable[Any]) -> str:
    """An address that nobody has, found from the uid, so that Services seldom get one that was just given up."""
    used, size = set(taken), CLUSTER_IPS.num_addresses - _RESERVED - 1
    start = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:6], "big")
    for offset in range(min(size, len(used) + 1)):
        address = str(CLUSTER_IPS[_RESERVED + (start + offset) % size])
        if address not in used:
            return address
    raise ApiError(500, "InternalError", f"no address of {CLUSTER_IPS} is free for another Service")


def _checked(obj: Json, wished: str, taken: set[Any]) -> str:
    name, text = obj["metadata"].get("name", ""), ""
    try:
        address = ip_address(wished)
        if not isinstance(address, IPv4Address) or address not in CLUSTER_IPS:
            text = f"failed to allocate IP {wished}: the provided IP is not in the valid range {CLUSTER_IPS}"
        elif wished in taken:
            text = f"failed to allocate IP {wished}: provided IP is already allocated"
    except ValueError:
        text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
    if text:
        raise invalid("Service", name, [wrong("spec.clusterIPs", [wished], text)])
    return wished


def _give_node_ports(obj: Json, others: Iterable[Json]) -> None:
    taken = {port.get("nodePort") for other in others for port in (other.get("spec") or {}).get("ports") or []}
    for index, port in enumerate(obj["spec"].get("ports") or []):
        number = port.get("nodePort")
        path = f"spec.ports[{index}].nodePort"
        if number and number not in NODE_PORTS:
            text = (
                f"provided port is not in the valid range. The range of valid ports is {NODE_PORTS[0]}-{NODE_PORTS[-1]}"
            )
            raise invalid("Service", obj["metadata"].get("name", ""), [wrong(path, number, text)])
        if number in taken and number:
            text = "provided port is already allocated"
            raise invalid("Service", obj["metadata"].get("name", ""), [wrong(path, number, text)])
        if not number:
            number = next((one for one in NODE_PORTS if one not in taken), 0)
            port["nodePort"] = number
        taken.add(number)
