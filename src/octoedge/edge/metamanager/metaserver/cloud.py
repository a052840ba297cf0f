"""What MetaServer asks the cloud: one Application, one answer (spec: metadata, section 4)."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from octoedge.edge.metamanager.metaserver.policies import Policies
from octoedge.edge.ports import Link
from octoedge.errors import ApiError, DeadlineError, MessageError, OfflineError, forbidden
from octoedge.kube import apiaddress
from octoedge.protocol import application as a
from octoedge.protocol import payloads as p
from octoedge.protocol.application import Key

READ_SECONDS, WRITE_SECONDS, FOLLOW_SECONDS = 10.0, 30.0, 240.0
CALM_SECONDS = 1800.0
"""The same for what only modules of the node follow: every question costs 1.4 kB."""
_SPARE_SECONDS = 30.0
_AT_ONCE = 32
"""Requests of clients that are under way; what is followed does not count."""
AWAY = (OfflineError, DeadlineError)
"""The cloud cannot be asked: then the replica answers."""


class Cloud:
    """The way to the Kubernetes API."""

    def __init__(
        self, node: str, link: Link, policies: Policies | None = None, shown: tuple[str, int] | None = None
    ) -> None:
        self._shown = shown
        self.node = node
        self._link = link
        self._policies = policies
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._silence = -1
        """What `heard` of the link was when a question was not answered, nor anything else said."""

    @property
    def online(self) -> bool:
        """Whether it can be asked right now."""
        return self._link.connected

    @property
    def ours(self) -> bool:
        """Whether it is a CloudCore of ours: KubeEdge's answers no question for changes, and asks in its own name."""
        return self._link.answers(p.EventInsert())

    async def until_online(self) -> None:
        """Return when it can be asked."""
        await self._link.until_connected()

    async def read(self, key: str, verb: str, option: Any = None, *, account: str = "", subresource: str = "") -> bytes:
        """As `ask`, for a client that waits: where a link has died silently only the first waits in vain; the others
        are told so at once, until anything comes from the cloud."""
        before = self._link.heard
        if before == self._silence:
            raise OfflineError(f"{verb} {key}: nothing has come from the cloud since it did not answer")
        try:
            return await self.ask(key, verb, option, account=account, subresource=subresource)
        except DeadlineError:
            if self._link.heard == before:
                self._silence = before
            raise

    async def ask(
        self,
        key: str,
        verb: str,
        option: Any = None,
        *,
        account: str = "",
        body: bytes | None = None,
        subresource: str = "",
        seconds: float = READ_SECONDS,
    ) -> bytes:
        """The body of the API's answer. Raises `ApiError`, `OfflineError`, `DeadlineError`."""
        if account and self.online and not self.ours:
            self._judge(account, verb, key, subresource)
            account = ""
        options = msgspec.json.encode(option or {})
        asked = a.make(self.node, key, verb, option=options, body=body, subresource=subresource, account=account)
        try:
            async with asyncio.timeout(seconds), self._slots:
                return self._here(key, await self._answer(asked, seconds))
        except TimeoutError as error:
            raise DeadlineError(f"{verb} {key}: the cloud gave no answer in {seconds:g} s") from error

    def _here(self, key: str, body: bytes) -> bytes:
        """What says where the API is says that it is here."""
        if self._shown is None or "/endpoint" not in key or a.is_discovery(key):
            return body
        about = a.parse_key(key)
        return apiaddress.shown_at(body, about.group, about.plural, self._shown)

    def _judge(self, account: str, verb: str, key: str, sub: str) -> None:
        """A CloudCore of KubeEdge's makes every request in a name of its own: this node is the last who can refuse."""
        if self._policies is None or not self._policies.allow(account, verb, a.parse_key(key), sub):
            raise forbidden(
                f"service account {account} may not {verb} {key} by what this node was told; its CloudCore is"
                " KubeEdge's, which tells nodes of service accounts' rights with the feature gate requireAuthorization"
            )

    async def follow(
        self, key: Key, labels: str, fields: str, after: int, account: str, seconds: float = FOLLOW_SECONDS
    ) -> a.Batch:
        """What happened after a version, as soon as something does; nothing after so many seconds without."""
        options = {
            "resourceVersion": str(after),
            "labelSelector": labels,
            "fieldSelector": fields,
            "timeoutSeconds": seconds,
        }
        asked = a.make(self.node, str(key), a.FOLLOW, option=msgspec.json.encode(options), account=account)
        body = self._here(str(key), await self._answer(asked, seconds + _SPARE_SECONDS))
        try:
            return msgspec.json.decode(body, type=a.Batch)
        except msgspec.DecodeError as error:
            raise ApiError(502, "InternalError", f"the cloud's changes of {key} cannot be read: {error}") from error

    async def _answer(self, asked: a.Application, seconds: float) -> bytes:
        reply = await self._link.request(p.ApplicationRequest(body=a.encode(asked)), seconds)
        try:
            answer = a.decode(reply.body)
            if not answer.id:
                p.outcome(reply.body)  # refused before DynamicController saw it
                raise ApiError(503, "ServiceUnavailable", "the cloud's DynamicController is switched off")
            return a.outcome(answer)
        except MessageError as error:
            raise ApiError(502, "InternalError", f"the cloud's answer cannot be read: {error}") from error
