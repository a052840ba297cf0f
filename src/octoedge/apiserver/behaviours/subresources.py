"""What lies below objects: a Pod's binding, eviction and log, a ServiceAccount's token, a Namespace's finalizers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from octoedge.apiserver.access.rbac.nodes import restrict_token
from octoedge.apiserver.access.tokens import ISSUER, MAX_SECONDS, MIN_SECONDS, Subject, Tokens
from octoedge.apiserver.behaviours.disruption import permit_eviction
from octoedge.apiserver.kinds import Kinds
from octoedge.apiserver.nodes.nodepages import NodeProxy
from octoedge.apiserver.nodes.podlogs import PodLog
from octoedge.apiserver.nodes.streams import Streams
from octoedge.apiserver.schema.bodies import Bodies, Findings
from octoedge.apiserver.serving.requests import Request, Response, Stream, json_answer, success
from octoedge.apiserver.store.backend import Edit, View
from octoedge.apiserver.writing.deletion import DeleteOptions, Deletion
from octoedge.apiserver.writing.rest import Place, Rest, dry_run
from octoedge.errors import ApiError, bad_request, conflict, invalid, not_found
from octoedge.runtime.clock import Clock, rfc3339

Json = dict[str, Any]
Handler = Callable[[Request, Place], Awaitable[Response]]

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_LOG_OPTIONS = ("follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream")
_DEFAULT_SECONDS = 3600


class LogSource(Protocol):
    """Where the logs of containers come from."""

    async def open(self, node: str, namespace: str, pod: str, container: str, query: Mapping[str, str]) -> PodLog:
        """The log as it comes; `ApiError` when there is none to be had."""
        ...


@dataclass(frozen=True, slots=True)
class Subresources:
    """Handlers by (subresource, verb)."""

    rest: Rest
    deletion: Deletion
    bodies: Bodies
    kinds: Kinds
    tokens: Tokens
    logs: LogSource
    clock: Clock
    streams: Streams
    proxy: NodeProxy

    def handlers(self) -> dict[tuple[str, str], Handler]:
        """The table for the API's dispatch."""
        return {
            ("binding", "create"): self._bind,
            ("eviction", "create"): self._evict,
            ("token", "create"): self._token,
            ("finalize", "update"): self._finalize,
            ("log", "get"): self._log,
            ("proxy", "get"): self.proxy.get,
            **self.streams.handlers(),
        }

    async def _bind(self, request: Request, place: Place) -> Response:
        body = self._typed(request, "", "v1", "Binding")
        node = (body.get("target") or {}).get("name") or ""
        if not node:
            raise invalid("Binding", place.name, [("FieldValueRequired", "target.name", "Required value")])
        await bind(self.rest, place, node, rfc3339(self.clock.now()), request.query)
        return json_answer(success({"name": place.name, "kind": "pods"}), 201)

    async def _evict(self, request: Request, place: Place) -> Response:
        body = self._typed(request, "policy", "v1", "Eviction")
        options = DeleteOptions.of(body.get("deleteOptions") or {}, request.query)
        now = rfc3339(self.clock.now())

        def permit(view: View) -> Sequence[Edit]:
            item = view.get("pods", place.namespace, place.name)
            return [] if item is None else permit_eviction(view, msgspec.json.decode(item.data), now)

        await self.deletion.delete(Place(place.kind, place.namespace, place.name), options, permit)
        return json_answer(success({"name": place.name, "kind": "pods"}), 201)

    async def _token(self, request: Request, place: Place) -> Response:
        body = self._typed(request, "authentication.k8s.io", "v1", "TokenRequest")
        spec = body.get("spec") or {}
        seconds = spec.get("expirationSeconds") or _DEFAULT_SECONDS
        _check_lifetime(seconds)
        audiences = spec.get("audiences") or [ISSUER]
        subject = self._subject(place, spec.get("boundObjectRef"))
        restrict_token(request.user, place.name, subject.node)
        now = self.clock.now()
        status = {"token": "", "expirationTimestamp": rfc3339(int(now) + seconds)}
        if not dry_run(request.query):
            status["token"] = self.tokens.sign(subject, audiences, now, seconds)
        metadata = {"name": place.name, "namespace": place.namespace, "creationTimestamp": rfc3339(now)}
        head = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": metadata}
        asked = {**spec, "audiences": audiences, "expirationSeconds": seconds}
        return json_answer({**head, "spec": asked, "status": status}, 201)

    def _subject(self, place: Place, bound: Json | None) -> Subject:
        account = self._read("serviceaccounts", place.namespace, place.name)
        uid = account["metadata"]["uid"]
        if not bound:
            return Subject(place.namespace, place.name, uid)
        if bound.get("kind") != "Pod":
            raise bad_request(f"cannot bind token to a {bound.get('kind')}; only tokens for a Pod are supported")
        pod = self._read("pods", place.namespace, bound.get("name") or "")
        about = pod["metadata"]
        if bound.get("uid") and bound["uid"] != about["uid"]:
            why = (
                f"the UID in the bound object reference ({bound['uid']}) does not match the UID in record. The object "
                "might have been deleted and then recreated"
            )
            raise conflict("pods", about["name"], why)
        if pod["spec"].get("serviceAccountName") != place.name:
            text = f'cannot bind token for serviceaccount "{place.name}" to pod running with different'
            raise bad_request(f"{text} serviceaccount name.")
        node = pod["spec"].get("nodeName") or ""
        return Subject(place.namespace, place.name, uid, about["name"], about["uid"], node)

    async def _finalize(self, request: Request, place: Place) -> Response:
        obj = self.bodies.object(
            place.kind, request.body, request.headers.get("Content-Type", ""), request.query, Findings()
        )
        item = await self.rest.update(place, obj, request.query)
        return json_answer(msgspec.Raw(item.data))

    async def _log(self, request: Request, place: Place) -> Response:
        pod = self._read("pods", place.namespace, place.name)
        container = choose_container(pod, request.query.get("container", ""))
        node = pod["spec"].get("nodeName")
        if not node:
            raise bad_request(f"pod {place.name} does not have a host assigned")
        query = {key: request.query[key] for key in _LOG_OPTIONS if key in request.query}
        found = await self.logs.open(node, place.namespace, place.name, container, query)
        headers = {"Warning": found.warning} if found.warning else {}
        return Stream(found.chunks, "text/plain; charset=utf-8", headers=headers)

    def _typed(self, request: Request, group: str, version: str, kind: str) -> Json:
        value = self.bodies.decode(request.body, request.headers.get("Content-Type", ""))
        return self.bodies.typed(group, version, kind, value)

    def _read(self, resource: str, namespace: str, name: str) -> Json:
        item = self.rest.backend.get(resource, namespace, name)
        if item is None:
            raise not_found(resource, name)
        obj: Json = msgspec.json.decode(item.data)
        return obj


async def bind(rest: Rest, place: Place, node: str, now: str, query: Mapping[str, str]) -> None:
    """Put a Pod on a node; 409 when it already is on one."""

    def change(pod: Json) -> Json:
        taken = pod["spec"].get("nodeName")
        if pod["metadata"].get("deletionTimestamp"):
            why = f"pod {place.name} is being deleted, cannot be assigned to a host"
            raise conflict("pods/binding", place.name, why)
        if taken:
            raise conflict("pods/binding", place.name, f'pod {place.name} is already assigned to node "{taken}"')
        pod["spec"]["nodeName"] = node
        condition = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
        status = pod.setdefault("status", {})
        others = [one for one in status.get("conditions") or [] if one.get("type") != "PodScheduled"]
        status["conditions"] = [*others, condition]
        return pod

    await rest.edit(Place(place.kind, place.namespace, place.name, "binding"), change, query)


def _check_lifetime(seconds: int) -> None:
    field = "spec.expirationSeconds"
    if seconds < MIN_SECONDS:
        text = f"Invalid value: {seconds}: may not specify a duration less than 10 minutes"
        raise invalid("TokenRequest", "", [("FieldValueInvalid", field, text)], "authentication.k8s.io")
    if seconds > MAX_SECONDS:
        text = f"Invalid value: {seconds}: may not specify a duration larger than 2^32 seconds"
        raise invalid("TokenRequest", "", [("FieldValueInvalid", field, text)], "authentication.k8s.io")


def choose_container(pod: Json, asked: str) -> str:
    """The container that is meant."""
    about, spec = pod["metadata"], pod["spec"]
    groups = ("containers", "initContainers", "ephemeralContainers")
    names = [one["name"] for group in groups for one in spec.get(group) or []]
    if asked:
        if asked not in names:
            raise bad_request(f"container {asked} is not valid for pod {about['name']}")
        return asked
    wished = (about.get("annotations") or {}).get(_DEFAULT_CONTAINER)
    if wished in names:
        return str(wished)
    if len(spec.get("containers") or []) == 1:
        return str(spec["containers"][0]["name"])
    choices = " ".join(one["name"] for one in spec.get("containers") or [])
    text = f"a container name must be specified for pod {about['name']}, choose one of: [{choices}]"
    raise ApiError(400, "BadRequest", text)
