"""Join tokens that an administrator makes beside KubeEdge's one for all: for one node, for one use, with an end.

    <CA hash>.join.<id>.<secret>       what the machine gets; edges, Go's too, read it as four parts
    Secret kubeedge/join-token-<id>    what the cloud keeps: a hash of the secret, node, end, use; never the secret

A token that is for one use is marked as used before the certificate is signed, on the version that was read: of two
machines that come at once one wins. The winner may ask again with the same key, since an answer can be lost.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Any

import msgspec

from octoedge.errors import ApiError, PkiError, TokenError
from octoedge.kube.client import Client
from octoedge.kube.kinds import SECRETS

NAMESPACE = "kubeedge"
TYPE = "octoedge.io/join-token"
LABEL = "octoedge.io/join-token"
_PREFIX = "join-token-"
_WORD = "join"
_ID = re.compile(r"[0-9a-f]{12}\Z")
_MAX_SECRET = 128
_TRIES = 5


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a token."""

    hash: str
    """SHA-256 of the secret, hexadecimal; the secret has 256 random bits, so that this tells nothing about it."""
    expires: float
    """Seconds since the epoch."""
    created: float = 0.0
    node: str = ""
    """The only node that it is for; empty: any whose name is free."""
    once: bool = False
    description: str = ""
    used_by: str = ""
    """The node that it was last used for."""
    used_at: float = 0.0
    used_key: str = ""
    """SHA-256 of the public key that it was last used for."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A record and where it lies."""

    id: str
    record: Record
    version: str = ""


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    resource_version: str = ""


class _Secret(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    data: dict[str, str] | None = None


def is_one(bearer: str) -> bool:
    """Whether a bearer is of this kind, and not a JWT (whose first part is never this word)."""
    return bearer.partition(".")[0] == _WORD


def refusal(record: Record, secret: str, node: str, key: str, *, now: float) -> str:
    """Why this secret does not get `node` a certificate for `key`; empty when it does. Pure."""
    if not hmac.compare_digest(_hash(secret), record.hash):
        return "the token is not known here; it was deleted, damaged, or made by another cloud"
    if now >= record.expires:
        return "the token has expired; make another one by `keadm token create`"
    if record.node and record.node != node:
        return f"the token is not for node {node}"
    if record.once and record.used_by and (record.used_by, record.used_key) != (node, key):
        return "the token was for one use, and has been used; make another one by `keadm token create`"
    return ""


async def use(client: Client, bearer: str, node: str, key: str, *, now: float) -> bool:
    """Take a token for `node`, whose certificate will be for `key`; returns whether it is bound to that node.

    Raises `TokenError` unless it is good.
    """
    token_id, secret = _parts(bearer)
    for _ in range(_TRIES):
        kept = await _read(client, token_id)
        # An unknown id is compared as well, so that it takes as long.
        record = kept.record if kept is not None else Record(hash=_hash(""), expires=0.0)
        why = refusal(record, secret, node, key, now=now)
        if why or kept is None:
            raise TokenError(why or "the token is not known here")
        after = msgspec.structs.replace(record, used_by=node, used_at=float(int(now)), used_key=key)
        if await _replace(client, Kept(token_id, after, kept.version)):
            return bool(record.node)
    raise PkiError("others kept using this token at the same time; try again")


async def create(client: Client, wish: Record, ca_hash: str) -> str:
    """Make a token as `wish` says (its hash is filled in here); returns the only copy of it."""
    token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    record = msgspec.structs.replace(wish, hash=_hash(secret))
    await client.create(SECRETS, NAMESPACE, _object(Kept(token_id, record)))
    return f"{ca_hash}.{_WORD}.{token_id}.{secret}"


async def read_all(client: Client) -> list[Kept]:
    """All tokens, the one that ends first at the head."""
    listing = await client.list(SECRETS, NAMESPACE, labels=f"{LABEL}=true")
    found = [kept for kept in map(_decode, listing.items) if kept is not None]
    return sorted(found, key=lambda kept: (kept.record.expires, kept.id))


async def delete(client: Client, token_id: str) -> None:
    """Take a token back. Raises `TokenError` when there is none of that id."""
    if not _ID.match(token_id):
        raise TokenError(
            f"{token_id[:40]!r} is no id of a token; `keadm token list` shows them (12 hexadecimal digits)"
        )
    try:
        await client.delete(SECRETS, NAMESPACE, _PREFIX + token_id)
    except ApiError as error:
        if error.code != 404:
            raise
        raise TokenError(f"there is no token {token_id}; `keadm token list` shows which there are") from None


async def delete_expired(client: Client, *, before: float) -> None:
    """Remove tokens that ended before that time."""
    for kept in await read_all(client):
        if kept.record.expires < before:
            await delete(client, kept.id)


async def ca_hash(client: Client) -> str:
    """The fingerprint of this cloud's CA, as CloudCore writes it into the token for all."""
    try:
        body = await client.get(SECRETS, NAMESPACE, "tokensecret")
        text = base64.b64decode((msgspec.json.decode(body, type=_Secret).data or {})["tokendata"], validate=True)
    except ApiError as error:
        if error.code != 404:
            raise
        raise TokenError("there is no Secret kubeedge/tokensecret yet; CloudCore makes it when it starts") from None
    except (KeyError, msgspec.DecodeError, binascii.Error) as error:
        raise TokenError("Secret kubeedge/tokensecret holds no token; restart CloudCore, which makes it") from error
    return text.decode(errors="replace").partition(".")[0]


def _parts(bearer: str) -> tuple[str, str]:
    parts = bearer.split(".")
    if len(parts) != 3 or not _ID.match(parts[1]) or len(parts[2]) > _MAX_SECRET:
        raise TokenError("token is malformed: token contains an invalid number of segments")
    return parts[1], parts[2]


async def _read(client: Client, token_id: str) -> Kept | None:
    try:
        return _decode(await client.get(SECRETS, NAMESPACE, _PREFIX + token_id))
    except ApiError as error:
        if error.code != 404:
            raise
        return None


async def _replace(client: Client, kept: Kept) -> bool:
    try:
        await client.update(SECRETS, NAMESPACE, _PREFIX + kept.id, _object(kept))
    except ApiError as error:
        if error.code not in (404, 409):
            raise
        return False
    return True


def _object(kept: Kept) -> bytes:
    metadata: dict[str, Any] = {"name": _PREFIX + kept.id, "namespace": NAMESPACE, "labels": {LABEL: "true"}}
    if kept.version:
        metadata["resourceVersion"] = kept.version
    data = {"token": base64.b64encode(msgspec.json.encode(kept.record)).decode()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": TYPE, "data": data}
    return msgspec.json.encode(body)


def _decode(body: bytes) -> Kept | None:
    """None for a Secret that somebody else put there: it opens nothing."""
    try:
        seen = msgspec.json.decode(body, type=_Secret)
        record = msgspec.json.decode(base64.b64decode((seen.data or {})["token"], validate=True), type=Record)
    except (KeyError, msgspec.DecodeError, binascii.Error):
        return None
    token_id = seen.metadata.name.removeprefix(_PREFIX)
    return Kept(token_id, record, seen.metadata.resource_version) if _ID.match(token_id) else None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
