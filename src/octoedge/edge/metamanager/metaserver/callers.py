"""Who asks, and what he was allowed to read when the cloud could last be asked.

    bearer token of a pod of this node ──► its service account      (verified by the store, also offline)
    a token signed by a key that is given (serviceAccountKeyFiles), of a pod that is here ──► the same
    another token                      ──► TokenReview by the cloud
    the node's own client certificate  ──► the node
    plain HTTP on loopback             ──► the node, as in KubeEdge
    nobody                             ──► nothing but health

Whether he may is the API server's decision, in his name, with each request. What it allowed is remembered, and while
the cloud is away that holds, however old it is, and so does what the cloud told of an account's rights (`policies`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from octoedge.api.meta import view
from octoedge.edge.metamanager import records
from octoedge.edge.metamanager.metaserver import rows
from octoedge.edge.metamanager.metaserver.cloud import AWAY, Cloud
from octoedge.edge.metamanager.metaserver.policies import Policies
from octoedge.errors import ApiError, StoreError
from octoedge.protocol.application import Key
from octoedge.protocol.handshake import certificate_name
from octoedge.protocol.resource import Resource
from octoedge.runtime.clock import Clock
from octoedge.store.sqlite import Database

log = logging.getLogger(__name__)

_MAX_TOKEN = 16 * 1024
_KNOWN = 512
_REVIEWED_SECONDS = 120.0
_FRESH_SECONDS = 600.0
"""A permission is written down again only when it is older, so that the disk rests."""
_REVIEWS = Key("authentication.k8s.io", "v1", "tokenreviews")
_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a service account (`<namespace>/<name>`), or, when that is empty, the node."""

    account: str = ""


@dataclass(frozen=True, slots=True)
class _Known:
    """A token that was verified."""

    account: str
    expires: float
    pod_uid: str
    until: float
    """On the wall clock; only a token that the store has holds longer."""


class Signatures(Protocol):
    """Keys of those who sign service accounts' tokens, and the issuers that they may name."""

    @property
    def issuers(self) -> Collection[str]:
        """Who may be named as the one who gave a token out."""
        ...

    def verified(self, token: str) -> dict[str, Any] | None:
        """What a token says, when one of the keys has signed it."""
        ...


def unauthorized(why: str = "Unauthorized") -> ApiError:
    """401: who asks is not known."""
    return ApiError(401, "Unauthorized", why)


class Callers:
    """Knows callers by their credentials."""

    def __init__(
        self, database: Database, cloud: Cloud, clock: Clock, audiences: Collection[str], signatures: Signatures | None
    ) -> None:
        self._signatures = signatures
        self._database = database
        self._cloud = cloud
        self._clock = clock
        self._audiences = frozenset(audiences)
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    async def of(self, headers: Mapping[str, str], certificate: Mapping[str, Any] | None) -> Caller:
        """Who asks. Raises `ApiError` 401."""
        authorization = headers.get("authorization", "")
        if authorization[:7].lower() == "bearer ":
            return Caller(await self._of_token(authorization[7:].strip()))
        if certificate and _common_name(certificate) == certificate_name(self._cloud.node):
            return Caller()
        if certificate:
            log.warning(
                "MetaServer refused the certificate of %.253s: it is not this node's", _common_name(certificate)
            )
        raise unauthorized("Unauthorized: show a token of a pod of this node, or the node's certificate")

    async def _of_token(self, token: str) -> str:
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is None or known.until <= self._clock.now():
            known = self._of_store(token) or self._of_signature(token) or await self._review(token)
            self._known[digest] = known
            while len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        if known.expires <= self._clock.now() and self._cloud.online:
            raise unauthorized("Unauthorized: the token has expired")
        return known.account

    def _of_store(self, token: str) -> _Known | None:
        """The account of a token that this node handed to a pod; it ends with the pod."""
        if len(token) > _MAX_TOKEN:
            raise unauthorized()
        claims = _claims(token)
        uid = str((_part(_part(claims, "kubernetes.io"), "pod")).get("uid") or "")
        subject = str(claims.get("sub") or "")
        if not uid or not subject.startswith(_ACCOUNT):
            return None
        found = self._database.read_now(
            lambda connection: connection.execute("SELECT key, body FROM token WHERE pod_uid = ?", (uid,)).fetchall()
        )
        for key, body in found:
            handed, audiences = _handed(key, body)
            for_us = not audiences or bool(self._audiences & set(audiences))
            if for_us and hmac.compare_digest(handed.encode(), token.encode()):
                expires = claims.get("exp")
                limit = float(expires) if isinstance(expires, int | float) else 0.0
                until = self._clock.now() + _REVIEWED_SECONDS
                return _Known(subject.removeprefix(_ACCOUNT).replace(":", "/", 1), limit, uid, until)
        return None

    def _of_signature(self, token: str) -> _Known | None:
        """The account of a token that a given key has signed, for us, of a pod that is on this node."""
        if self._signatures is None or not (claims := self._signatures.verified(token)):
            return None
        now, account, audiences = self._clock.now(), str(claims.get("sub") or ""), claims.get("aud")
        named = (
            {audiences}
            if isinstance(audiences, str)
            else set(map(str, audiences if isinstance(audiences, list) else ()))
        )
        begins, ends = (claims.get(one) for one in ("nbf", "exp"))
        pod = _part(_part(claims, "kubernetes.io"), "pod")
        if claims.get("iss") not in self._signatures.issuers or not named & self._audiences:
            return None
        if not isinstance(ends, int | float) or (isinstance(begins, int | float) and begins > now):
            return None
        place = account.removeprefix(_ACCOUNT).replace(":", "/", 1)
        if not account.startswith(_ACCOUNT) or not self._is_here(place.partition("/")[0], pod):
            return None
        return _Known(place, float(ends), str(pod["uid"]), now + _REVIEWED_SECONDS)

    def _is_here(self, namespace: str, pod: Mapping[str, Any]) -> bool:
        where = Resource(namespace, "pod", str(pod.get("name") or ""))
        stored = self._database.read_now(lambda connection: records.get(connection, where))
        return stored is not None and bool(pod.get("uid")) and view(stored).metadata.uid == pod["uid"]

    async def _review(self, token: str) -> _Known:
        """By the cloud, for tokens that this node did not hand out, or has replaced since."""
        review = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token}}
        try:
            body = await self._cloud.ask(str(_REVIEWS), "create", body=msgspec.json.encode(review))
            status = _part(msgspec.json.decode(body), "status")
        except (*AWAY, ApiError, msgspec.DecodeError) as error:
            log.debug("a token cannot be reviewed: %s", error)
            raise unauthorized("Unauthorized: the token is not one of a pod of this node") from error
        name = str(_part(status, "user").get("username") or "")
        if status.get("authenticated") is not True or not name.startswith(_ACCOUNT):
            raise unauthorized("Unauthorized: the token is not one of a service account")
        now = self._clock.now()
        account = name.removeprefix(_ACCOUNT).replace(":", "/", 1)
        return _Known(account, now + _REVIEWED_SECONDS, "", now + _REVIEWED_SECONDS)


class Permissions:
    """What the cloud allowed, for when it is away."""

    def __init__(self, database: Database, clock: Clock, policies: Policies) -> None:
        self._database = database
        self._clock = clock
        self._policies = policies

    async def allowed(self, caller: Caller, verb: str, key: Key) -> None:
        """The cloud has just allowed this."""
        what, now = f"{verb} {key}", self._clock.now()
        known = self._look(caller, [what])
        if known is None or now - known > _FRESH_SECONDS:
            await self._write(lambda connection: rows.allow(connection, caller.account, what, now))

    async def refused(self, caller: Caller, verb: str, key: Key) -> None:
        """The cloud has just refused this."""
        what = f"{verb} {key}"
        if self._look(caller, [what]) is not None:
            await self._write(lambda connection: rows.forbid(connection, caller.account, what))

    def check(self, caller: Caller, verb: str, key: Key) -> None:
        """Raises `ApiError` 403 unless the cloud has allowed this, or what includes it, before."""
        if self._look(caller, _including(verb, key)) is None and not self._policies.allow(caller.account, verb, key):
            who = f"service account {caller.account}" if caller.account else "this node"
            raise ApiError(
                403,
                "Forbidden",
                f"the cloud is away, and {who} has not been allowed to {verb} {key.plural} here before",
            )

    def _look(self, caller: Caller, whats: list[str]) -> float | None:
        return self._database.read_now(lambda connection: rows.allowed(connection, caller.account, whats))

    async def _write(self, work: Any) -> None:
        try:
            await self._database.write(work)
        except StoreError as error:
            log.warning("a decision of the cloud cannot be kept: %s", error)


def _including(verb: str, key: Key) -> list[str]:
    """Decisions that include this one: of all names, of all namespaces, list for watch and get."""
    verbs = [verb, "list", "watch"] if verb != "list" else ["list", "watch"]
    named = msgspec.structs.replace(key, name="")
    return [f"{one} {place}" for one in verbs for place in (key, named, msgspec.structs.replace(named, namespace=""))]


def _claims(token: str) -> dict[str, Any]:
    """What a JWT says of itself, unverified: only to find the token that it must equal."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _part(value: Any, name: str) -> dict[str, Any]:
    inner = value.get(name) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _handed(key: str, body: bytes) -> tuple[str, list[str]]:
    """The token of a row, and its audiences."""
    audiences = msgspec.json.decode(key)[2]
    token = _part(msgspec.json.decode(body), "status").get("token")
    return str(token or ""), [str(one) for one in audiences]


def _common_name(certificate: Mapping[str, Any]) -> str:
    for part in certificate.get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return ""
