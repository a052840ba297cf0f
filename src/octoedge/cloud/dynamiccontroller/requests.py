"""One Application → one request to the API server, in the caller's name → the body of its answer. One row per verb."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from octoedge.errors import MessageError, bad_request
from octoedge.kube.client import Client, SpeakingAs
from octoedge.protocol.application import Application, Key, PatchInfo, is_discovery, option_as, parse_key

_JSON = "application/json"
_SUBRESOURCE = re.compile(r"[a-z]+(/[a-z]+)?")
_PATCHES = frozenset(
    f"application/{kind}"
    for kind in ("json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml")
)
_MOST_BODY = 3 * 1024 * 1024


class Requests:
    """Carries out what is not a watch."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._verbs: dict[str, Callable[[Application, SpeakingAs | None], Awaitable[bytes | None]]] = {
            "get": self._get,
            "list": self._list,
            "create": self._create,
            "update": self._update,
            "updatestatus": self._update_status,
            "patch": self._patch,
            "delete": self._delete,
        }

    async def carry_out(self, application: Application, caller: SpeakingAs | None) -> bytes | None:
        """The body of the answer, None where there is none to give. Raises `ApiError`, `TransportError`.

        Without a caller it is CloudCore that asks.
        """
        verb = self._verbs.get(application.verb)
        if verb is None:
            raise bad_request(f"the verb {application.verb[:40]!r} is not known; known are {', '.join(self._verbs)}")
        if len(application.req_body or b"") > _MOST_BODY:
            raise bad_request(f"the object is larger than {_MOST_BODY} bytes")
        try:
            return await verb(application, caller)
        except MessageError as error:
            raise bad_request(str(error)) from error

    async def _get(self, application: Application, caller: SpeakingAs | None) -> bytes:
        if is_discovery(application.key):
            return await self._client.request("GET", application.key, query=_query(application), speaking_as=caller)
        where = _named(application)
        return await self._client.request("GET", where, query=_query(application), speaking_as=caller)

    async def _list(self, application: Application, caller: SpeakingAs | None) -> bytes:
        key = parse_key(application.key)
        query = {name: value for name, value in _query(application).items() if name != "watch"}
        return await self._client.request("GET", _all(key), query=query, speaking_as=caller)

    async def _create(self, application: Application, caller: SpeakingAs | None) -> bytes:
        key = parse_key(application.key)
        where = _named(application) if key.name and application.subresource else _all(key)
        return await self._write("POST", where, application, caller)

    async def _update(self, application: Application, caller: SpeakingAs | None) -> bytes:
        return await self._write("PUT", _named(application), application, caller)

    async def _update_status(self, application: Application, caller: SpeakingAs | None) -> bytes:
        key = parse_key(application.key)
        return await self._write("PUT", f"{key.path}/status", application, caller)

    async def _patch(self, application: Application, caller: SpeakingAs | None) -> bytes:
        info = option_as(application, PatchInfo)
        if info.patch_type not in _PATCHES:
            raise bad_request(f"the patch type {info.patch_type[:60]!r} is not known")
        sub = "/".join(info.subresources or ())
        where = _named(msgspec.structs.replace(application, subresource=sub))
        return await self._client.request(
            "PATCH",
            where,
            query=_as_query(info.options),
            body=info.data or b"",
            content_type=info.patch_type,
            speaking_as=caller,
        )

    async def _delete(self, application: Application, caller: SpeakingAs | None) -> None:
        body = application.option if application.option not in (None, b"", b"{}") else None
        await self._client.request("DELETE", _named(application), body=body, speaking_as=caller)

    async def _write(self, method: str, where: str, application: Application, caller: SpeakingAs | None) -> bytes:
        query = _query(application)
        return await self._client.request(
            method, where, query=query, body=application.req_body or b"", content_type=_JSON, speaking_as=caller
        )


def _named(application: Application) -> str:
    key = parse_key(application.key)
    if not key.name:
        raise bad_request(f"{application.verb} {application.key}: the object's name is missing")
    sub = application.subresource
    if sub and not _SUBRESOURCE.fullmatch(sub):
        raise bad_request(f"{sub[:60]!r} is no subresource")
    return f"{key.path}/{sub}" if sub else key.path


def _all(key: Key) -> str:
    return msgspec.structs.replace(key, name="").path


def _query(application: Application) -> dict[str, str]:
    return _as_query(option_as(application, dict[str, Any]))


def _as_query(options: Mapping[str, Any]) -> dict[str, str]:
    """Options as the query that says them; kind and apiVersion of the options say nothing."""
    return {
        name: _text(value)
        for name, value in options.items()
        if isinstance(value, str | int | bool) and value != "" and name not in ("kind", "apiVersion", "watch")
    }


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
