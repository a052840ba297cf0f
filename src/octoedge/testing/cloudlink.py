"""A cloud as MetaManager sees it through its `ports.Link`: answers from a table of objects, may go away and come back.

For tests of one node without a network. The objects behave as a Kubernetes API does where MetaManager can tell: uids,
rising resourceVersions, 404, 409 for a patch that names another uid.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import msgspec

from octoedge.edge.ports import Reply
from octoedge.errors import ApiError, OfflineError, already_exists, conflict, not_found
from octoedge.protocol import payloads as p
from octoedge.protocol import routes
from octoedge.protocol.message import Message
from octoedge.protocol.resource import Resource


class CloudLink:
    """Implements `ports.Link`."""

    def __init__(self, *, connected: bool = True, ours: bool = True) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        """By wire path (`default/pod/web`)."""
        self.requests: list[p.Payload] = []
        self.sent: list[p.Payload] = []
        self.acknowledged: list[tuple[str, str]] = []
        """(message id, error) of every acknowledgement."""
        self.fail: Callable[[p.Payload], Exception | None] = lambda _: None
        """May raise its answer in place of the cloud's."""
        self.tokens_expire = "2030-01-01T00:00:00Z"
        self.ours = ours
        self.silences = self.heard = 0
        self.leases = False
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._versions = itertools.count(100)
        self._ids = itertools.count(1)
        self.set_connected(connected)

    def set_connected(self, connected: bool) -> None:
        """Let the link come or go."""
        (self._up if connected else self._down).set()
        (self._down if connected else self._up).clear()

    @property
    def connected(self) -> bool:
        return self._up.is_set()

    async def until_connected(self) -> None:
        await self._up.wait()

    async def until_disconnected(self) -> None:
        await self._down.wait()

    def answers(self, payload: p.Payload) -> bool:
        row = routes.row_of(payload)
        return (row.confirm if self.ours else row.confirm_go) is routes.Confirm.REPLY

    @property
    def keeps_lease(self) -> bool:
        return self.connected and self.leases

    async def request(self, payload: p.Payload, timeout: float) -> Reply:
        del timeout  # this cloud answers at once, or `fail` says what happens
        await asyncio.sleep(0)
        if not self.connected:
            raise OfflineError("the cloud is away")
        self.requests.append(payload)
        error = self.fail(payload)
        if error is not None and not isinstance(error, ApiError):
            raise error
        return self._reply(payload, error)

    async def send(self, payload: p.Payload) -> None:
        await asyncio.sleep(0)
        if not self.connected:
            raise OfflineError("the cloud is away")
        self.sent.append(payload)

    async def acknowledge(self, message: Message, error: str = "") -> None:
        if not self.connected:
            raise OfflineError("the cloud is away")
        self.acknowledged.append((message.header.msg_id, error))

    def put(self, path: str, obj: dict[str, Any]) -> dict[str, Any]:
        """Create or change an object; gives it a new resourceVersion."""
        meta = {"name": path.split("/")[-1], "namespace": path.split("/")[0], "uid": f"uid-{path}"}
        old = self.objects.get(path, {})
        meta |= old.get("metadata", {}) | obj.get("metadata", {}) | {"resourceVersion": str(next(self._versions))}
        self.objects[path] = {**old, **obj, "metadata": meta}
        return self.objects[path]

    def _reply(self, payload: p.Payload, error: ApiError | None) -> Reply:
        request = routes.compose(payload, message_id=f"q{next(self._ids)}", timestamp=0)
        try:
            if error is not None:
                raise error
            body = _ANSWERS[type(payload)](self, payload)
        except ApiError as refused:
            plain = isinstance(payload, p.TokenQuery) or (
                isinstance(payload, p.ObjectQuery) and payload.resource.type != "lease"
            )
            body = msgspec.json.encode(p.error_value(refused)) if plain else p.failed(refused)
        answer = routes.answer(request, body, message_id=f"a{next(self._ids)}", timestamp=0)
        return Reply(answer, answer.data())

    def _found(self, resource: Resource) -> dict[str, Any]:
        try:
            return self.objects[str(resource)]
        except KeyError:
            raise not_found(resource.type + "s", resource.name) from None

    def _query(self, payload: p.Payload) -> bytes:
        found = msgspec.json.encode(self._found(payload.resource))
        return p.succeeded(found) if payload.resource.type == "lease" else found

    def _insert(self, payload: p.Payload) -> bytes:
        if str(payload.resource) in self.objects:
            raise already_exists(payload.resource.type + "s", payload.resource.name)
        return p.succeeded(msgspec.json.encode(self.put(str(payload.resource), payload.json())))

    def _update(self, payload: p.Payload) -> bytes:
        found = self._found(payload.resource)
        sent = payload.json()
        if sent.get("metadata", {}).get("resourceVersion") != found["metadata"]["resourceVersion"]:
            raise conflict(payload.resource.type + "s", payload.resource.name, "the object has been modified")
        return p.succeeded(msgspec.json.encode(self.put(str(payload.resource), sent)))

    def _merge_labels(self, payload: p.Payload) -> bytes:
        found = self._found(payload.resource)
        labels = {**found["metadata"].get("labels", {}), **payload.json()["metadata"].get("labels", {})}
        self.put(str(payload.resource), {"metadata": {"labels": labels}})
        return b"OK"

    def _patch(self, payload: p.Payload) -> bytes:
        kind = payload.resource.type.removesuffix("patch")
        target = Resource(payload.resource.namespace, kind, payload.resource.name)
        found, patch = self._found(target), payload.json()
        uid = patch.get("metadata", {}).get("uid")
        if uid and uid != found["metadata"]["uid"]:
            raise conflict("pods", target.name, f"Precondition failed: UID in precondition: {uid}")
        return p.succeeded(msgspec.json.encode(self.put(str(target), {"status": patch.get("status")})))

    def _delete(self, payload: p.Payload) -> bytes:
        found = self.objects.get(str(payload.resource))
        if found is not None and payload.json()["preconditions"]["uid"] == found["metadata"]["uid"]:
            del self.objects[str(payload.resource)]
        return b"OK"

    def _token(self, payload: p.Payload) -> bytes:
        status = {"token": f"token-{next(self._versions)}", "expirationTimestamp": self.tokens_expire}
        return msgspec.json.encode({**payload.json(), "status": status})

    def _event(self, payload: p.Payload) -> bytes:
        return p.succeeded(payload.body)


_ANSWERS: dict[type[p.Payload], Callable[[CloudLink, p.Payload], bytes]] = {
    p.ObjectQuery: CloudLink._query,
    p.TokenQuery: CloudLink._token,
    p.NodeInsert: CloudLink._insert,
    p.NodeUpdate: CloudLink._merge_labels,
    p.NodeStatusPatch: CloudLink._patch,
    p.PodStatusPatch: CloudLink._patch,
    p.PodDelete: CloudLink._delete,
    p.LeaseInsert: CloudLink._insert,
    p.LeaseUpdate: CloudLink._update,
    p.EventInsert: CloudLink._event,
    p.UserUpload: lambda _cloud, _payload: b"OK",
    p.TwinReport: lambda _cloud, _payload: b"OK",
    p.DeviceStateReport: lambda _cloud, _payload: b"OK",
}
