"""An edge node's own address stays its own: what the API shows instead, so that its kubelet's door is CloudCore. Pure.

    edge says     InternalIP 10.9.0.7, Hostname edge-1, port 10350
    API shows     InternalIP <CloudCore>, port 10003;  annotation octoedge.io/own-addresses keeps what the edge said
    edge is told  what it said

A Kubernetes API server dials `https://<address>:<port>` for logs, exec and the like. It prefers Hostname to InternalIP,
so no other address than CloudCore's is shown. Pods keep the hostIP that the edge reports.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

import msgspec

from octoedge.api.meta import fields, splice, view
from octoedge.errors import MessageError

ANNOTATION = "octoedge.io/own-addresses"
"""JSON: `addresses` as the edge reports them, `port` of its own kubelet endpoint."""

_NOTHING = msgspec.Raw(b"{}")


@dataclass(frozen=True, slots=True)
class Door:
    """Where the API server reaches CloudCore's stream server."""

    address: str
    """An IP, a name, or `*.` and a domain, whose every name leads here."""
    port: int

    def of(self, node: str) -> Door:
        """The door of one node: a name of its own, where there is a domain."""
        return Door(node + self.address[1:], self.port) if self.address.startswith("*.") else self

    @property
    def addresses(self) -> list[dict[str, str]]:
        """status.addresses of every node behind it."""
        try:
            ipaddress.ip_address(self.address)
        except ValueError:
            return [{"type": "InternalDNS", "address": self.address}]
        return [{"type": "InternalIP", "address": self.address}]

    @property
    def endpoints(self) -> dict[str, dict[str, int]]:
        """status.daemonEndpoints of every node behind it."""
        return {"kubeletEndpoint": {"Port": self.port}}


class Own(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the edge says of itself."""

    addresses: list[dict[str, Any]] = []
    port: int = 0


def shown(node: bytes, door: Door) -> bytes:
    """A whole Node as the API gets it."""
    status = _status(node)
    kept = _merged(_own(node), _told(status, door))
    changed = {**status, "addresses": door.addresses, "daemonEndpoints": door.endpoints}
    annotations = {**(view(node).metadata.annotations or {}), ANNOTATION: _text(kept)}
    return splice(node, {"status": changed}, {"annotations": annotations})


def shown_patch(patch: bytes, door: Door) -> bytes:
    """A strategic merge patch of a Node's status as the API gets it; what it does not touch is left alone."""
    status = _status(patch)
    changed: dict[str, Any] = dict(status)
    if "addresses" in status:
        changed["addresses"] = [*door.addresses, {"$patch": "replace"}]
    if "daemonEndpoints" in status:
        changed["daemonEndpoints"] = door.endpoints
    return splice(patch, {"status": changed})


def own(node: bytes) -> bytes:
    """A Node of the API as its edge is told of it; unchanged where nothing was rewritten."""
    kept = _own(node)
    if not kept.addresses and not kept.port:
        return node
    status: dict[str, Any] = dict(_status(node))
    if kept.addresses:
        status["addresses"] = kept.addresses
    if kept.port:
        status["daemonEndpoints"] = {"kubeletEndpoint": {"Port": kept.port}}
    return splice(node, {"status": status})


def noted(live: bytes, patch: bytes, door: Door) -> bytes | None:
    """The metadata patch that keeps what a status patch says of the edge's own addresses; None when it is known."""
    before = _own(live)
    now = _merged(before, _told(_status(patch), door))
    return None if now == before else _annotate(_text(now))


def corrected(live: bytes, door: Door | None) -> tuple[bytes, bytes] | None:
    """(metadata patch, status patch) for a Node that shows another address than it should; None when all is well."""
    status, kept = _status(live), _own(live)
    if door is None:
        if not kept.addresses:
            return None
        back = {"addresses": [*kept.addresses, {"$patch": "replace"}]}
        ports = {"daemonEndpoints": {"kubeletEndpoint": {"Port": kept.port}}} if kept.port else {}
        return _annotate(None), msgspec.json.encode({"status": {**back, **ports}})
    if _reported(status) == Own(door.addresses, door.port):
        return None
    # What stands there may be another CloudCore's door; what was noted is the edge's own.
    told = kept if kept.addresses else _told(status, door)
    change = {"addresses": [*door.addresses, {"$patch": "replace"}], "daemonEndpoints": door.endpoints}
    return _annotate(_text(told)), msgspec.json.encode({"status": change})


def _annotate(text: str | None) -> bytes:
    return msgspec.json.encode({"metadata": {"annotations": {ANNOTATION: text}}})


def _status(node: bytes) -> dict[str, msgspec.Raw]:
    return fields(bytes(fields(node).get("status", _NOTHING)))


class _Kubelet(msgspec.Struct, frozen=True):
    Port: int = 0


class _Daemons(msgspec.Struct, frozen=True, rename="camel"):
    kubelet_endpoint: _Kubelet = _Kubelet()


def _told(status: dict[str, msgspec.Raw], door: Door) -> Own:
    """What a status says of the edge itself; what leads to the door is not its own."""
    seen = _reported(status)
    addresses = [] if seen.addresses == door.addresses else seen.addresses
    return Own(addresses, 0 if seen.port == door.port else seen.port)


def _reported(status: dict[str, msgspec.Raw]) -> Own:
    try:
        found = msgspec.json.decode(status.get("addresses", msgspec.Raw(b"null")), type=list[dict[str, Any]] | None)
        port = msgspec.json.decode(status.get("daemonEndpoints", _NOTHING), type=_Daemons).kubelet_endpoint.Port
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(f"the addresses in a node's status cannot be read: {error}") from error
    return Own([one for one in found or [] if "type" in one and "$patch" not in one], port)


def _own(node: bytes) -> Own:
    text = (view(node).metadata.annotations or {}).get(ANNOTATION, "")
    try:
        return msgspec.json.decode(text, type=Own) if text else Own()
    except (msgspec.DecodeError, RecursionError):
        return Own()


def _merged(before: Own, told: Own) -> Own:
    return Own(told.addresses or before.addresses, told.port or before.port)


def _text(own_: Own) -> str:
    return msgspec.json.encode(own_).decode()
