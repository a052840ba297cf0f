"""What messages mean: one frozen class per kind of message, the only form that rooms above the protocol see.

Every payload has the `resource` it is about, its `body` (content as JSON bytes, a string that holds JSON unwrapped),
and the object's resourceVersion where the wire carries one. Handlers are found by class: `dict[type[Payload], …]`.
Which strings these are on the wire is said in `routes` and nowhere else.
"""

from __future__ import annotations

from typing import Any

import msgspec

from octoedge.errors import ApiError, MessageError
from octoedge.protocol.resource import Resource

NOWHERE = Resource("", "")
"""The resource of payloads that are about no object."""


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """A message's meaning."""

    resource: Resource = NOWHERE
    body: bytes = b"null"
    version: str = ""
    """resourceVersion of the object in `body`, a decimal number, or empty."""

    def json(self) -> Any:
        """The body decoded; `MessageError` when it is no JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise MessageError(f"{type(self).__name__} {self.resource}: body is not JSON: {error}") from error


# ---- cloud → edge --------------------------------------------------------------------------------------------------


class ObjectInsert(Payload, frozen=True, kw_only=True):
    """An object is new for this node. Stored, acted on, acknowledged."""


class ObjectUpdate(Payload, frozen=True, kw_only=True):
    """An object changed, or is sent again; carries the whole object."""


class ObjectDelta(Payload, frozen=True, kw_only=True):
    """What is new in an object, for an edge that holds the version before. Between two Octoedges only."""


class ObjectDelete(Payload, frozen=True, kw_only=True):
    """An object is gone in the cloud; the body holds its last form, or at least its uid.

    A Go cloud leaves out the uid when a status report names an unknown pod: then ask again before deleting.
    """


class DeviceMembership(Payload, frozen=True, kw_only=True):
    """Devices came to or left this node: `{"added_devices": […], "removed_devices": […]}`. For edges of KubeEdge."""


class DeviceDetail(Payload, frozen=True, kw_only=True):
    """All devices of this node: `{"devices": […]}`; those that are not listed are gone. For edges of KubeEdge."""


class TwinSync(Payload, frozen=True, kw_only=True):
    """Desired values of a device, as clouds before 1.15 send them; its `resource` has no namespace."""


class WatchedInsert(Payload, frozen=True, kw_only=True):
    """An object that a watch of the node's MetaServer sees is there. From a cloud, or to an edge, of KubeEdge."""


class WatchedUpdate(Payload, frozen=True, kw_only=True):
    """An object that a watch of the node's MetaServer sees has changed."""


class WatchedDelete(Payload, frozen=True, kw_only=True):
    """An object that a watch of the node's MetaServer sees is gone."""


class Answer(Payload, frozen=True, kw_only=True):
    """The answer to a request; which one says the envelope's parent id."""


# ---- edge → cloud --------------------------------------------------------------------------------------------------


class Keepalive(Payload, frozen=True, kw_only=True):
    """The edge lives. Resets the session's timer; a cloud of ours answers it and renews the node's Lease."""


class Ack(Payload, frozen=True, kw_only=True):
    """The edge has stored the message that the envelope's parent id names."""


class Nack(Payload, frozen=True, kw_only=True):
    """The edge could not store or do what the parent id names; the body is the error text."""


class ObjectQuery(Payload, frozen=True, kw_only=True):
    """The edge asks for one object (configmap, secret, node, lease, persistentvolume …)."""


class TokenQuery(Payload, frozen=True, kw_only=True):
    """The edge asks for a service account token; the body is a TokenRequest."""


class NodeInsert(Payload, frozen=True, kw_only=True):
    """The edge registers its Node."""


class NodeUpdate(Payload, frozen=True, kw_only=True):
    """The edge wants labels and annotations merged into its Node."""


class NodeStatusPatch(Payload, frozen=True, kw_only=True):
    """A strategic merge patch of the Node's status."""


class NodeStatusReport(Payload, frozen=True, kw_only=True):
    """The whole status of a Node, as edges before 1.12 send it."""


class NodeStatusInsert(Payload, frozen=True, kw_only=True):
    """Node registration as edges before 1.12 send it."""


class PodInsert(Payload, frozen=True, kw_only=True):
    """The edge wants a mirror pod created."""


class PodStatusPatch(Payload, frozen=True, kw_only=True):
    """A strategic merge patch of a Pod's status; carries metadata.uid."""


class PodStatusReport(Payload, frozen=True, kw_only=True):
    """Whole pod statuses, as edges before 1.12 send them."""


class PodDelete(Payload, frozen=True, kw_only=True):
    """The edge has stopped a pod; the body is DeleteOptions with the UID precondition, or the uid as text."""


class LeaseInsert(Payload, frozen=True, kw_only=True):
    """The edge creates its lease."""


class LeaseUpdate(Payload, frozen=True, kw_only=True):
    """The edge renews its lease."""


class EventInsert(Payload, frozen=True, kw_only=True):
    """Something worth telling happened on the edge (core/v1 Event)."""


class EventUpdate(Payload, frozen=True, kw_only=True):
    """An Event happened again."""


class EventPatch(Payload, frozen=True, kw_only=True):
    """An Event happened again, as `{"event": …, "patchData": …}`."""


class SigningRequestInsert(Payload, frozen=True, kw_only=True):
    """The edge creates a CertificateSigningRequest."""


class DeviceDetailQuery(Payload, frozen=True, kw_only=True):
    """The edge asks for a DeviceDetail. KubeEdge's cloud knows the question and never answers it."""


class UserUpload(Payload, frozen=True, kw_only=True):
    """What a client of the node's MQTT broker says to the cloud: the resource's name is the topic, the body text."""


class TopicSubscribe(Payload, frozen=True, kw_only=True):
    """Listen to the MQTT topic that the resource names: a rule of the router takes what comes there."""


class TopicUnsubscribe(Payload, frozen=True, kw_only=True):
    """No rule takes what comes on the topic any more."""


class TopicPublish(Payload, frozen=True, kw_only=True):
    """Publish the body on the MQTT topic that the resource names."""


class TwinReport(Payload, frozen=True, kw_only=True):
    """What a device's properties are now: `{"event_id": …, "timestamp": ms, "twin": {property: Twin}}`.

    The `resource` has no namespace when an edge before 1.15 sends it.
    """


class DeviceStateReport(Payload, frozen=True, kw_only=True):
    """Whether a device can be reached: `{"event_id": …, "timestamp": ms, "device": {"name", "state", …}}`."""


class TelemetryBatch(Payload, frozen=True, kw_only=True):
    """Numbered values of device properties, see `telemetry`; answered once stored. Between two Octoedges only."""


class CaQuery(Payload, frozen=True, kw_only=True):
    """The edge asks for the API server's CA certificate."""


class ApplicationRequest(Payload, frozen=True, kw_only=True):
    """The edge's MetaServer asks the Kubernetes API; the body is an `application.Application`."""


class WatchSync(Payload, frozen=True, kw_only=True):
    """All watches of an edge's MetaServer: `{id: Application}`; the cloud answers with those that failed."""


# ---- bodies --------------------------------------------------------------------------------------------------------


class ObjectResp(msgspec.Struct, frozen=True):
    """The body of most answers: `{"Object": …, "Err": …}` (spec: metadata, section 2.1)."""

    Object: msgspec.Raw = msgspec.Raw(b"null")
    Err: msgspec.Raw = msgspec.Raw(b"null")


def succeeded(obj: bytes) -> bytes:
    """The body that says a request succeeded and gives the object."""
    return msgspec.json.encode(ObjectResp(Object=msgspec.Raw(obj or b"null")))


def failed(error: ApiError) -> bytes:
    """The body that says a request failed, where an ObjectResp is expected."""
    return msgspec.json.encode({"Object": None, "Err": error_value(error)})


def error_value(error: ApiError) -> dict[str, Any]:
    """The body that says a plain query failed: `{"ErrStatus": metav1.Status}`."""
    status = error.status()
    status.pop("kind")
    status.pop("apiVersion")
    return {"ErrStatus": status}


class _Outcome(msgspec.Struct, frozen=True):
    Object: msgspec.Raw = msgspec.Raw(b"null")
    Err: msgspec.Raw = msgspec.Raw(b"null")
    ErrStatus: dict[str, Any] | None = None


def outcome(body: bytes) -> bytes:
    """The object that an answer's body gives (`null` when it gives none); raises the `ApiError` that it tells of.

    Accepts all three forms: ObjectResp, a bare object, a bare error value. A body such as the text `OK` gives `null`.
    """
    if body[:1] != b"{":
        return b"null"
    try:
        decoded = msgspec.json.decode(body, type=_Outcome)
        keys = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(f"an answer cannot be read: {error}") from error
    if decoded.ErrStatus is not None:
        raise ApiError.from_status(decoded.ErrStatus)
    if "Object" not in keys and "Err" not in keys:
        if not keys:
            raise ApiError(500, "InternalError", "the cloud answered with an error and gave no text")
        return body
    err = bytes(decoded.Err)
    if err not in (b"null", b""):
        raise _error_in(err)
    return bytes(decoded.Object)


def _error_in(err: bytes) -> ApiError:
    """The error that the field `Err` tells of: an error value, or whatever text there is."""
    try:
        status = msgspec.json.decode(err, type=_Outcome).ErrStatus if err[:1] == b"{" else None
    except msgspec.DecodeError:
        status = None
    return ApiError.from_status(status or {"message": err[:200].decode(errors="replace")})
