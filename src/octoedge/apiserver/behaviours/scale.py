"""The scale subresource: how many replicas, read and written without knowing the kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from octoedge.apiserver.kinds import Kind
from octoedge.apiserver.printing.cells import dig
from octoedge.apiserver.schema.bodies import Bodies, expect_object, unknown_format
from octoedge.apiserver.serving.requests import Request, Response, json_answer
from octoedge.apiserver.writing.metadata import wrong
from octoedge.apiserver.writing.rest import JSON_PATCH, MERGE, STRATEGIC, Place, Rest
from octoedge.errors import ApiError, bad_request, invalid
from octoedge.kube.patch import apply_json, apply_merge
from octoedge.kube.selector import from_label_selector

Json = dict[str, Any]
Handler = Callable[[Request, Place], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Scales:
    """Handlers for scale."""

    rest: Rest
    bodies: Bodies

    def handlers(self) -> dict[tuple[str, str], Handler]:
        """The table for the API's dispatch."""
        return {("scale", "get"): self._get, ("scale", "update"): self._update, ("scale", "patch"): self._patch}

    async def _get(self, _: Request, place: Place) -> Response:
        item = self.rest.backend.get(place.kind.resource, place.namespace, place.name)
        if item is None:
            raise place.missing()
        return json_answer(scale_of(place.kind, msgspec.json.decode(item.data)))

    async def _update(self, request: Request, place: Place) -> Response:
        value = self.bodies.decode(request.body, request.headers.get("Content-Type", ""))
        return await self._write(request, place, lambda _: value)

    async def _patch(self, request: Request, place: Place) -> Response:
        media_type = request.headers.get("Content-Type", "")
        patch = self.bodies.decode(request.body, media_type)
        word = media_type.partition(";")[0].strip().lower()
        if word == JSON_PATCH:
            return await self._write(request, place, lambda scale: apply_json(scale, patch))
        if word not in (MERGE, STRATEGIC):
            raise unknown_format((JSON_PATCH, MERGE, STRATEGIC))
        expect_object(patch)
        return await self._write(request, place, lambda scale: apply_merge(scale, patch))

    async def _write(self, request: Request, place: Place, change: Callable[[Json], Any]) -> Response:
        path = place.kind.scale.spec if place.kind.scale else "spec.replicas"

        def apply(obj: Json) -> Json:
            wanted = change(scale_of(place.kind, obj))
            expect_object(wanted)
            scale = self.bodies.typed("autoscaling", "v1", "Scale", wanted)
            _check(place, scale)
            version = (scale.get("metadata") or {}).get("resourceVersion")
            if version:
                obj["metadata"]["resourceVersion"] = version
            _set(obj, path, int((scale.get("spec") or {}).get("replicas") or 0))
            return obj

        whole = Place(place.kind, place.namespace, place.name)
        item = await self.rest.edit(whole, apply, request.query)
        return json_answer(scale_of(place.kind, msgspec.json.decode(item.data)))


def scale_of(kind: Kind, obj: Json) -> Json:
    """The Scale of an object."""
    paths = kind.scale
    if paths is None:
        raise ApiError(404, "NotFound", "the server could not find the requested resource")
    about = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    replicas, selector = dig(obj, paths.spec), dig(obj, paths.selector) if paths.selector else None
    text = str(from_label_selector(selector)) if isinstance(selector, dict) else selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: about[key] for key in kept if about.get(key)},
        "spec": {"replicas": replicas or 0},
        "status": {"replicas": dig(obj, paths.status) or 0, **({"selector": text} if text else {})},
    }


def _check(place: Place, scale: Json) -> None:
    name = (scale.get("metadata") or {}).get("name")
    if name and name != place.name:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({place.name})")
    replicas = (scale.get("spec") or {}).get("replicas") or 0
    if replicas < 0:
        cause = wrong("spec.replicas", replicas, "must be greater than or equal to 0")
        raise invalid("Scale", place.name, [cause], "autoscaling")


def _set(obj: Json, path: str, value: int) -> None:
    *parents, last = path.split(".")
    for key in parents:
        obj = obj.setdefault(key, {})
    obj[last] = value
