"""What CloudCore does for each request of a node, and how it answers (spec: metadata, section 2).

One method per payload; `HANDLERS` finds it by class, objects that are asked for by their type. A handler gives the body
and version of a success; a failure raises `ApiError`, and `failure` writes it in the form that this request expects.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from octoedge.api.meta import splice, typed, view
from octoedge.cloud.edgecontroller import addresses
from octoedge.cloud.edgecontroller.authorize import LEASES_NAMESPACE, of_another
from octoedge.cloud.edgecontroller.downstream import Downstream
from octoedge.cloud.edgecontroller.references import facts
from octoedge.cloud.edgecontroller.reports import pod_status, with_status
from octoedge.errors import ApiError, bad_request, forbidden, not_found
from octoedge.kube.client import STRATEGIC, Client
from octoedge.kube.kinds import (
    CONFIGMAPS,
    CSIDRIVERS,
    EVENTS,
    LEASES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    SECRETS,
    SERVICEACCOUNTS,
    SIGNINGREQUESTS,
    VOLUMEATTACHMENTS,
    Kind,
)
from octoedge.protocol import payloads as p
from octoedge.protocol.resource import Resource
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

OK = b"OK"
_LEASE_SECONDS = 40
"""As the node itself would say: after so long without a renewal it counts as away."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer."""

    body: bytes
    version: str = ""


class _Condition(msgspec.Struct, frozen=True):
    type: str = ""
    status: str = ""


class _Conditions(msgspec.Struct, frozen=True):
    conditions: list[_Condition] | None = None


class _Judged(msgspec.Struct, frozen=True):
    status: _Conditions = _Conditions()


class Requests:
    """Carries out what nodes ask for."""

    def __init__(
        self, client: Client, downstream: Downstream, *, address: str, door: addresses.Door | None = None
    ) -> None:
        """`address` goes into the Node annotation `cloudcore`; behind a `door` nodes show its address as theirs."""
        self._client = client
        self._downstream = downstream
        self._address = address
        self._door = door
        self._said = SaidOnce(log)

    async def answer(self, node: str, payload: p.Payload) -> Reply:
        """Carry out one request."""
        return await HANDLERS[type(payload)](self, node, payload)

    async def user_upload(self, node: str, _payload: p.Payload) -> Reply:
        """Say that nobody takes messages of MQTT clients: there is no router yet."""
        text = "no rule takes messages of MQTT clients"
        self._said.trouble(f"messages that MQTT clients of node {node} have for the cloud", f"dropped: {text}")
        raise ApiError(404, "NotFound", text)

    # ---- nodes -----------------------------------------------------------------------------------------------------

    async def node_insert(self, node: str, payload: p.Payload) -> Reply:
        """Register the node."""
        created = await self._client.create(NODES, "", self._registration(node, payload.body))
        return Reply(p.succeeded(addresses.own(created)))

    async def node_update(self, node: str, payload: p.Payload) -> Reply:
        """Merge labels and annotations into the node."""
        meta = view(payload.body).metadata
        patch = {"metadata": {"labels": meta.labels or {}, "annotations": meta.annotations or {}}}
        patched = await self._client.patch(NODES, "", node, msgspec.json.encode(patch))
        return Reply(OK, _version(patched))

    async def node_status_patch(self, node: str, payload: p.Payload) -> Reply:
        """Patch the node's status."""
        patch = payload.body
        door = self._door_of(node)
        if door is not None:
            await self._note_addresses(node, patch, door)
            patch = addresses.shown_patch(patch, door)
        patched = await self._client.patch(NODES, "", node, patch, how=STRATEGIC, sub="status")
        return Reply(p.succeeded(addresses.own(typed(patched, "v1", "Node"))), _version(patched))

    async def node_status_insert(self, node: str, payload: p.Payload) -> Reply:
        """Register the node, as old edges do: one that exists is well."""
        try:
            await self._client.create(NODES, "", self._registration(node, payload.body))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        return Reply(OK)

    async def node_status_report(self, node: str, payload: p.Payload) -> Reply:
        """Replace the node's status, as old edges report it."""
        live = await self._client.get(NODES, "", node)
        changed = with_status(live, payload.body)
        door = self._door_of(node)
        if door is not None:
            await self._note_addresses(node, changed, door)
            changed = addresses.shown(changed, door)
        updated = await self._client.update(NODES, "", node, changed, sub="status")
        return Reply(OK, _version(updated))

    def _registration(self, node: str, body: bytes) -> bytes:
        annotations = {**(view(body).metadata.annotations or {}), "cloudcore": self._address}
        whole = splice(typed(body, "v1", "Node"), metadata={"name": node, "annotations": annotations})
        door = self._door_of(node)
        return whole if door is None else addresses.shown(whole, door)

    def _door_of(self, node: str) -> addresses.Door | None:
        return None if self._door is None else self._door.of(node)

    async def _note_addresses(self, node: str, patch: bytes, door: addresses.Door) -> None:
        """Keep the node's own addresses before they are replaced."""
        live = self._downstream.nodes.get("", node)
        note = addresses.noted(live, patch, door) if live is not None else None
        if note is not None:
            await self._client.patch(NODES, "", node, note)

    async def mark(self, node: str) -> None:
        """Write into the Node which CloudCore serves it, and where; nothing when it says so or is not there yet."""
        live = self._downstream.nodes.get("", node)
        if live is None:
            return
        if (view(live).metadata.annotations or {}).get("cloudcore") != self._address:
            patch = {"metadata": {"annotations": {"cloudcore": self._address}}}
            await self._client.patch(NODES, "", node, msgspec.json.encode(patch))
        correction = addresses.corrected(live, self._door_of(node))
        if correction is not None:
            note, status = correction
            if self._door is not None:
                await self._client.patch(NODES, "", node, note)
            await self._client.patch(NODES, "", node, status, how=STRATEGIC, sub="status")
            if self._door is None:
                await self._client.patch(NODES, "", node, note)

    # ---- pods ------------------------------------------------------------------------------------------------------

    async def pod_insert(self, _node: str, payload: p.Payload) -> Reply:
        """Create a mirror pod."""
        created = await self._client.create(PODS, payload.resource.namespace, typed(payload.body, "v1", "Pod"))
        return Reply(p.succeeded(created), _version(created))

    async def pod_status_patch(self, node: str, payload: p.Payload) -> Reply:
        """Patch a pod's status."""
        namespace, name = payload.resource.namespace, payload.resource.name
        await self._check_owner(node, namespace, name)
        patched = await self._client.patch(PODS, namespace, name, payload.body, how=STRATEGIC, sub="status")
        return Reply(p.succeeded(typed(patched, "v1", "Pod")), _version(patched))

    async def pod_delete(self, node: str, payload: p.Payload) -> Reply:
        """Remove a pod that the node has stopped; one that is gone, or was made anew, is removed."""
        namespace, name = payload.resource.namespace, payload.resource.name
        try:
            await self._check_owner(node, namespace, name)
            await self._client.delete(PODS, namespace, name, _delete_options(payload.body))
        except ApiError as error:
            if error.code not in (404, 409):
                raise
        return Reply(OK)

    async def pod_status_report(self, node: str, payload: p.Payload) -> Reply:
        """Replace the statuses of one pod or several, as old edges report them."""
        for uid, name, status in pod_status(payload):
            namespace = payload.resource.namespace
            live = await self._client.get(PODS, namespace, name)
            if view(live).metadata.uid != uid:
                raise not_found("pods", name)
            await self._check_owner(node, namespace, name)
            merged = splice(live, {"status": status})
            await self._client.update(PODS, namespace, name, merged, sub="status")
        return Reply(OK)

    async def _check_owner(self, node: str, namespace: str, name: str) -> None:
        """A pod that the copy does not have is looked up: the copy may be a moment behind."""
        known = self._downstream.pod(namespace, name)
        owner = known.node if known else facts(await self._client.get(PODS, namespace, name)).node
        if owner != node:
            raise forbidden(f"pod {namespace}/{name} does not belong to node {node}")

    # ---- leases, events, tokens, signing requests ------------------------------------------------------------------

    async def lease_insert(self, _node: str, payload: p.Payload) -> Reply:
        """Create the node's lease."""
        body = typed(payload.body, LEASES.api_version, LEASES.kind)
        return Reply(p.succeeded(await self._client.create(LEASES, payload.resource.namespace, body)))

    async def lease_update(self, _node: str, payload: p.Payload) -> Reply:
        """Renew the node's lease."""
        resource = payload.resource
        body = typed(payload.body, LEASES.api_version, LEASES.kind)
        return Reply(p.succeeded(await self._client.update(LEASES, resource.namespace, resource.name, body)))

    async def renew(self, node: str, now: str) -> None:
        """Renew a node's lease in its name: its heartbeat has just come. Nothing while there is no such Node."""
        owner = self._downstream.nodes.get("", node)
        if owner is None:
            return
        spec = {"holderIdentity": node, "leaseDurationSeconds": _LEASE_SECONDS, "renewTime": now}
        try:
            await self._client.patch(LEASES, LEASES_NAMESPACE, node, msgspec.json.encode({"spec": spec}))
        except ApiError as error:
            if error.code != 404:
                raise
            owners = [{"apiVersion": "v1", "kind": "Node", "name": node, "uid": view(owner).metadata.uid}]
            metadata = {"name": node, "namespace": LEASES_NAMESPACE, "ownerReferences": owners}
            lease = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}
            await self._client.create(LEASES, LEASES_NAMESPACE, msgspec.json.encode(lease))

    def given_up(self, node: str) -> bool:
        """Whether the Node's Ready condition says Unknown: only a new status of the node takes that back."""
        live = self._downstream.nodes.get("", node)
        if live is None:
            return False
        conditions = msgspec.json.decode(live, type=_Judged).status.conditions or []
        return any(condition.type == "Ready" and condition.status == "Unknown" for condition in conditions)

    async def event_insert(self, _node: str, payload: p.Payload) -> Reply:
        """Create an Event; one that is there already is well."""
        try:
            await self._client.create(EVENTS, payload.resource.namespace, typed(payload.body, "v1", "Event"))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        return Reply(OK)

    async def event_update(self, _node: str, payload: p.Payload) -> Reply:
        """Replace an Event."""
        name = view(payload.body).metadata.name or payload.resource.name
        await self._client.update(EVENTS, payload.resource.namespace, name, typed(payload.body, "v1", "Event"))
        return Reply(OK)

    async def event_patch(self, _node: str, payload: p.Payload) -> Reply:
        """Patch an Event."""
        body: dict[str, Any] = payload.json()
        name = str(((body.get("event") or {}).get("metadata") or {}).get("name") or payload.resource.name)
        data = str(body.get("patchData") or "{}").encode()
        await self._client.patch(EVENTS, payload.resource.namespace, name, data, how=STRATEGIC)
        return Reply(OK)

    async def token_query(self, _node: str, payload: p.Payload) -> Reply:
        """Make a token of a service account."""
        resource = payload.resource
        body = typed(payload.body, "authentication.k8s.io/v1", "TokenRequest")
        made = await self._client.create(SERVICEACCOUNTS, resource.namespace, body, name=resource.name, sub="token")
        return Reply(made)

    async def signing_request_insert(self, _node: str, payload: p.Payload) -> Reply:
        """Create a CertificateSigningRequest."""
        body = splice(
            typed(payload.body, SIGNINGREQUESTS.api_version, SIGNINGREQUESTS.kind), metadata={"namespace": None}
        )
        return Reply(p.succeeded(await self._client.create(SIGNINGREQUESTS, "", body)))

    async def ca_query(self, _node: str, _payload: p.Payload) -> Reply:
        """The CA of the API server, as Pods know it."""
        root = await self._client.get(CONFIGMAPS, "kube-system", "kube-root-ca.crt")
        data = msgspec.json.decode(root, type=_Data).data or {}
        return Reply(data.get("ca.crt", "").encode())

    # ---- questions -------------------------------------------------------------------------------------------------

    async def query(self, node: str, payload: p.Payload) -> Reply:
        """One object."""
        return await _QUERIES[payload.resource.type](self, node, payload)

    async def cached(self, _node: str, payload: p.Payload) -> Reply:
        """From the copy; when the copy does not have it, from the API: the copy may be a moment behind."""
        kind = _KINDS[payload.resource.type]
        raw = self._downstream.cached(payload.resource) or await self._get(kind, payload)
        if kind is NODES:
            raw = addresses.own(raw)
        return Reply(raw, _version(raw))

    async def secret(self, node: str, payload: p.Payload) -> Reply:
        """A Secret that a pod of the node refers to, or the volume that a claim of the pod is bound to."""
        if self._downstream.uses(node, payload.resource):
            return await self.cached(node, payload)
        claims = {resource for pod in self._downstream.pods_of(node) for resource in pod.claims}
        wanted = _Reference(payload.resource.namespace, payload.resource.name)
        for claim in claims:
            if wanted in await self._secrets_behind(claim):
                return await self.live(node, payload)
        raise forbidden(f"node {node} may not read {payload.resource}: no pod of the node refers to it")

    async def _secrets_behind(self, claim: Resource) -> tuple[_Reference | None, ...]:
        """The Secrets that the volume of a claim names."""
        try:
            bound = await self._client.get(PERSISTENTVOLUMECLAIMS, claim.namespace, claim.name)
            name = msgspec.json.decode(bound, type=_Claim).spec.volumeName
            volume = await self._client.get(PERSISTENTVOLUMES, "", name) if name else b"{}"
        except ApiError as error:
            if error.code != 404:
                raise
            return ()
        spec = msgspec.json.decode(volume, type=_Volume).spec
        taken = spec.claimRef == _Reference(claim.namespace, claim.name)
        return (spec.csi.nodeStageSecretRef, spec.csi.nodePublishSecretRef) if taken and spec.csi is not None else ()

    async def live(self, _node: str, payload: p.Payload) -> Reply:
        """From the API."""
        raw = await self._get(_KINDS[payload.resource.type], payload)
        return Reply(raw, _version(raw))

    async def volume(self, node: str, payload: p.Payload) -> Reply:
        """A PersistentVolume that a claim of this node's pods is bound to."""
        raw = await self._get(PERSISTENTVOLUMES, payload)
        claim = msgspec.json.decode(raw, type=_Volume).spec.claimRef
        claims = {resource for pod in self._downstream.pods_of(node) for resource in pod.claims}
        if claim is None or (claim.namespace, claim.name) not in {(one.namespace, one.name) for one in claims}:
            raise forbidden(f"node {node} may not read {payload.resource}: no pod of the node claims it")
        return Reply(raw, _version(raw))

    async def attachment(self, node: str, payload: p.Payload) -> Reply:
        """A VolumeAttachment of this node."""
        raw = await self._get(VOLUMEATTACHMENTS, payload)
        if msgspec.json.decode(raw, type=_Attachment).spec.nodeName != node:
            raise forbidden(f"node {node} may not read {payload.resource}: it is of another node")
        return Reply(raw, _version(raw))

    async def signing_request(self, node: str, payload: p.Payload) -> Reply:
        """A CertificateSigningRequest of this node."""
        raw = await self._get(SIGNINGREQUESTS, payload)
        why = of_another(node, msgspec.json.decode(raw))
        if why:
            raise forbidden(f"node {node} may not read {payload.resource}: {why}")
        return Reply(raw, _version(raw))

    async def lease(self, _node: str, payload: p.Payload) -> Reply:
        """The node's lease."""
        return Reply(p.succeeded(await self._get(LEASES, payload)))

    async def _get(self, kind: Kind, payload: p.Payload) -> bytes:
        namespace = payload.resource.namespace if kind.namespaced else ""
        raw = await self._client.get(kind, namespace, payload.resource.name)
        return typed(raw, kind.api_version, kind.kind)


def failure(payload: p.Payload, error: ApiError) -> bytes:
    """The body that says `error` in the form that this request expects."""
    wrapped = type(payload) in _OBJECT_RESP or (isinstance(payload, p.ObjectQuery) and payload.resource.type == "lease")
    return p.failed(error) if wrapped else msgspec.json.encode(p.error_value(error))


class _Data(msgspec.Struct, frozen=True):
    data: dict[str, str] | None = None


class _Reference(msgspec.Struct, frozen=True):
    namespace: str = ""
    name: str = ""


class _Csi(msgspec.Struct, frozen=True):
    nodeStageSecretRef: _Reference | None = None  # noqa: N815
    nodePublishSecretRef: _Reference | None = None  # noqa: N815


class _VolumeSpec(msgspec.Struct, frozen=True):
    claimRef: _Reference | None = None  # noqa: N815
    csi: _Csi | None = None


class _ClaimSpec(msgspec.Struct, frozen=True):
    volumeName: str = ""  # noqa: N815


class _Claim(msgspec.Struct, frozen=True):
    spec: _ClaimSpec = _ClaimSpec()


class _AttachmentSpec(msgspec.Struct, frozen=True):
    nodeName: str = ""  # noqa: N815


class _Attachment(msgspec.Struct, frozen=True):
    spec: _AttachmentSpec = _AttachmentSpec()


class _Volume(msgspec.Struct, frozen=True):
    spec: _VolumeSpec = _VolumeSpec()


def _version(raw: bytes) -> str:
    return view(raw).metadata.resource_version


def _delete_options(body: bytes) -> bytes:
    """DeleteOptions as they came, or made from a bare uid."""
    if body[:1] == b"{":
        return splice(body, {"kind": "DeleteOptions", "apiVersion": "v1"})
    uid = body.decode(errors="replace")
    if not uid or uid == "null":
        raise bad_request("a pod delete must name the pod's uid")
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
    return msgspec.json.encode(options)


Handler = Callable[[Requests, str, p.Payload], Awaitable[Reply]]

HANDLERS: dict[type[p.Payload], Handler] = {
    p.UserUpload: Requests.user_upload,
    p.ObjectQuery: Requests.query,
    p.TokenQuery: Requests.token_query,
    p.NodeInsert: Requests.node_insert,
    p.NodeUpdate: Requests.node_update,
    p.NodeStatusPatch: Requests.node_status_patch,
    p.NodeStatusInsert: Requests.node_status_insert,
    p.NodeStatusReport: Requests.node_status_report,
    p.PodInsert: Requests.pod_insert,
    p.PodStatusPatch: Requests.pod_status_patch,
    p.PodStatusReport: Requests.pod_status_report,
    p.PodDelete: Requests.pod_delete,
    p.LeaseInsert: Requests.lease_insert,
    p.LeaseUpdate: Requests.lease_update,
    p.EventInsert: Requests.event_insert,
    p.EventUpdate: Requests.event_update,
    p.EventPatch: Requests.event_patch,
    p.SigningRequestInsert: Requests.signing_request_insert,
    p.CaQuery: Requests.ca_query,
}

_QUERIES: dict[str, Handler] = {
    "node": Requests.cached,
    "configmap": Requests.cached,
    "secret": Requests.secret,
    "lease": Requests.lease,
    "persistentvolume": Requests.volume,
    "persistentvolumeclaim": Requests.live,
    "volumeattachment": Requests.attachment,
    "csidriver": Requests.live,
    "certificatesigningrequest": Requests.signing_request,
}

_KINDS: dict[str, Kind] = {
    "node": NODES,
    "configmap": CONFIGMAPS,
    "secret": SECRETS,
    "persistentvolumeclaim": PERSISTENTVOLUMECLAIMS,
    "volumeattachment": VOLUMEATTACHMENTS,
    "csidriver": CSIDRIVERS,
    "certificatesigningrequest": SIGNINGREQUESTS,
}

_OBJECT_RESP = frozenset(
    {
        p.NodeInsert,
        p.NodeStatusPatch,
        p.PodInsert,
        p.PodStatusPatch,
        p.LeaseInsert,
        p.LeaseUpdate,
        p.SigningRequestInsert,
    }
)
