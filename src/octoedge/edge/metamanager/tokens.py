"""Service account tokens: asked for once, kept, renewed in good time, and served from the store while offline.

A token is renewed when 80 % of its life are over or after 24 hours, as the kubelet does. While the cloud is away the
stored one is handed out even when it has expired: a pod that starts with an old token is better than one that does not
start; it is replaced as soon as the cloud is back and edged asks again.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import msgspec

from octoedge.edge.ports import Link
from octoedge.errors import ApiError, DeadlineError, MessageError, OfflineError
from octoedge.protocol.payloads import TokenQuery, outcome
from octoedge.protocol.resource import Resource
from octoedge.runtime.clock import Clock, parse_rfc3339
from octoedge.store.sqlite import Database

log = logging.getLogger(__name__)

_MAX_AGE = 24 * 3600.0
_SHARE = 0.8
_GONE = frozenset({403, 404})


class Tokens:
    """Keeps one token per service account, audience, lifetime and pod."""

    def __init__(self, database: Database, link: Link, clock: Clock, *, answer_seconds: float = 60.0) -> None:
        self._database = database
        self._link = link
        self._clock = clock
        self._answer_seconds = answer_seconds

    async def get(self, namespace: str, service_account: str, request: dict[str, Any]) -> dict[str, Any]:
        """A TokenRequest with its status; raises `ApiError`, or `OfflineError` when none is stored either."""
        spec = request.get("spec") or {}
        pod_uid = str((spec.get("boundObjectRef") or {}).get("uid") or "")
        key = token_key(namespace, service_account, spec)
        stored = self._stored(key)
        if stored is not None and (not self._link.connected or not self._due(*stored)):
            return stored[1]
        try:
            fresh = await self._ask(namespace, service_account, request)
        except (OfflineError, DeadlineError, ApiError) as error:
            if stored is None or (isinstance(error, ApiError) and error.code in _GONE):
                raise
            log.warning("the token of %s/%s is not renewed yet: %s", namespace, service_account, error)
            return stored[1]
        await self._keep(key, pod_uid, fresh)
        return fresh

    def _stored(self, key: str) -> tuple[float, dict[str, Any]] | None:
        row = self._database.read_now(
            lambda connection: connection.execute("SELECT issued, body FROM token WHERE key = ?", (key,)).fetchone()
        )
        return None if row is None else (float(row[0]), msgspec.json.decode(row[1]))

    def _due(self, issued: float, token: dict[str, Any]) -> bool:
        now = self._clock.now()
        if now < issued:
            return True  # the clock was ahead when the token was stored, so its age says nothing
        life = _MAX_AGE
        with contextlib.suppress(KeyError, TypeError, ValueError):
            life = parse_rfc3339(token["status"]["expirationTimestamp"]) - issued
        return now - issued >= min(life * _SHARE, _MAX_AGE)

    async def _ask(self, namespace: str, service_account: str, request: dict[str, Any]) -> dict[str, Any]:
        resource = Resource(namespace, "serviceaccounttoken", service_account)
        query = TokenQuery(resource=resource, body=msgspec.json.encode(request))
        reply = await self._link.request(query, self._answer_seconds)
        try:
            answer = msgspec.json.decode(outcome(reply.body))
            whole = isinstance(answer, dict) and bool(answer["status"]["token"])
        except (MessageError, msgspec.DecodeError, KeyError, TypeError):
            whole = False
        if not whole:
            raise ApiError(500, "InternalError", f"the cloud's answer for {resource} holds no token")
        return dict(answer)

    async def _keep(self, key: str, pod_uid: str, token: dict[str, Any]) -> None:
        row = (key, pod_uid, self._clock.now(), msgspec.json.encode(token))
        await self._database.write(
            lambda connection: (
                connection.execute(
                    "INSERT OR REPLACE INTO token (key, pod_uid, issued, body) VALUES (?, ?, ?, ?)", row
                ).rowcount
            )
        )


def token_key(namespace: str, service_account: str, spec: dict[str, Any]) -> str:
    """What makes two requests want the same token."""
    parts = [
        namespace,
        service_account,
        spec.get("audiences") or [],
        spec.get("expirationSeconds") or 0,
        (spec.get("boundObjectRef") or {}).get("uid") or "",
    ]
    return msgspec.json.encode(parts).decode()
