"""Create, update, patch and delete: handed to the cloud in the caller's name, refused with the reason without it."""

from __future__ import annotations

from typing import Any

import msgspec

from octoedge.edge.metamanager.metaserver.callers import Caller
from octoedge.edge.metamanager.metaserver.cloud import AWAY, WRITE_SECONDS, Cloud
from octoedge.errors import ApiError, DeadlineError, bad_request
from octoedge.kube.read import Target
from octoedge.protocol.application import Key, PatchInfo
from octoedge.transport.http_server import Answer, Request

_JSON = {"Content-Type": "application/json"}
_DELETED = b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success"}\n'


class Writes:
    """The writing verbs."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def create(self, request: Request, target: Target, caller: Caller) -> Answer:
        """POST, also to a subresource."""
        return Answer(201, await self._ask("create", request, target, caller, _options(request), request.body), _JSON)

    async def update(self, request: Request, target: Target, caller: Caller) -> Answer:
        """PUT."""
        _named(target)
        return Answer(200, await self._ask("update", request, target, caller, _options(request), request.body), _JSON)

    async def patch(self, request: Request, target: Target, caller: Caller) -> Answer:
        """PATCH of whatever kind."""
        _named(target)
        info = PatchInfo(
            name=target.name,
            patch_type=request.headers.get("content-type", "").partition(";")[0].strip(),
            data=request.body,
            options=_options(request),
            subresources=[target.subresource] if target.subresource else None,
        )
        return Answer(200, await self._ask("patch", request, target, caller, info, None), _JSON)

    async def delete(self, request: Request, target: Target, caller: Caller) -> Answer:
        """DELETE of one object."""
        if not target.name:
            raise ApiError(405, "MethodNotAllowed", "deleting many objects at once is not possible through a node")
        options: Any = _options(request)
        if str(options.get("gracePeriodSeconds", "")).isdecimal():
            options["gracePeriodSeconds"] = int(options["gracePeriodSeconds"])
        if request.body:
            try:
                options = msgspec.json.decode(request.body, type=dict[str, Any]) | options
            except (msgspec.DecodeError, RecursionError) as error:
                raise bad_request(f"the body is no DeleteOptions: {error}") from error
        return Answer(200, await self._ask("delete", request, target, caller, options, None) or _DELETED, _JSON)

    async def _ask(
        self, verb: str, request: Request, target: Target, caller: Caller, option: Any, body: bytes | None
    ) -> bytes:
        key = Key(target.group, target.version, target.resource, target.namespace, target.name)
        if not self._cloud.online:
            raise _away(request, "is away")
        sub = "/".join(filter(None, (target.subresource, target.rest))) if verb != "patch" else ""
        try:
            return await self._cloud.ask(
                str(key), verb, option, account=caller.account, body=body, subresource=sub, seconds=WRITE_SECONDS
            )
        except AWAY as error:
            if isinstance(error, DeadlineError):
                text = f"{request.method} {request.path}: the cloud gave no answer; it may have done it all the same"
                raise ApiError(504, "Timeout", text) from error
            raise _away(request, "was lost before it answered") from error


def _away(request: Request, how: str) -> ApiError:
    text = f"{request.method} {request.path}: the cloud {how}, and nothing can be changed from this node without it"
    return ApiError(503, "ServiceUnavailable", text)


def _named(target: Target) -> None:
    if not target.name:
        raise ApiError(405, "MethodNotAllowed", "the path names no object")


def _options(request: Request) -> dict[str, Any]:
    """The query as options; kubectl's own `timeout` is for whoever waits, which is us."""
    options: dict[str, Any] = {
        name: value for name, value in request.query.items() if name not in ("timeout", "pretty")
    }
    if "dryRun" in options:
        options["dryRun"] = str(options["dryRun"])
    return options
