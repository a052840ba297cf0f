"""Whose a node's name is: the certificates issued for it, and who may have a further one. Pure.

    a machine asks for a certificate, showing ─┬─ a certificate that is still good        → renewal
                                               ├─ a token for this node (`keadm token`)   → this machine is the node now
                                               ├─ the token for everybody (`gettoken`)    → only a name nobody holds
                                               └─ nothing, but signs with the node's key  → an expired one, for a while

A name is held from the first certificate until an administrator frees it: by `octoedge node release`, by a token made
for the node, or by deleting the Node. Whoever then joins ends what was issued before. A revoked name is nobody's.
"""

from __future__ import annotations

import enum
import hmac
from dataclasses import dataclass

import msgspec

_REMEMBERED = 8
"""Certificates of a node that are listed; one is added at each renewal."""


class Shown(enum.Enum):
    """What stands behind a request for a certificate."""

    CERTIFICATE = "the node's certificate"
    BOUND = "a token for this node"
    OPEN = "the token for every node"
    KEY = "the node's key"


class Issued(msgspec.Struct, frozen=True, omit_defaults=True):
    """One certificate."""

    serial: str
    """Hexadecimal, upper case, as TLS libraries show it."""
    key: str
    """SHA-256 of the public key (DER of its SubjectPublicKeyInfo), hexadecimal."""
    until: float
    """When it ends, seconds since the epoch."""


class Identity(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept about one node's name."""

    node: str
    issued: tuple[Issued, ...] = ()
    """Oldest first."""
    only_listed: bool = False
    """Whether certificates that are not listed are refused: true once another machine took the name, or it was revoked.
    Before, those of a time without lists are good."""
    released: bool = False
    """Whether the next machine with any token may have the name."""
    revoked: str = ""
    """Why and when the name was revoked; empty: it was not."""


@dataclass(frozen=True, slots=True)
class Request:
    """A machine's wish for a certificate, its signing request being in order."""

    node: str
    key: str
    """SHA-256 of the public key that it shall be for."""
    shown: Shown
    serial: str = ""
    """Of the certificate that was shown."""
    known: bool = False
    """Whether the API has a Node of this name that has reported before."""


def refuses_certificate(identity: Identity | None, serial: str) -> str:
    """Why the holder of this certificate, which the CA signed, is not let in; empty when he is."""
    if identity is None:
        return ""
    if identity.revoked:
        return f"the certificates of node {identity.node} were revoked ({identity.revoked})"
    if identity.only_listed and not any(one.serial == serial for one in identity.issued):
        return (
            f"this certificate of node {identity.node} is no longer good: it was revoked, or another machine has "
            "joined under this name since"
        )
    return ""


def refusal(identity: Identity | None, request: Request, *, now: float, grace: float) -> str:
    """Why this machine may not have a certificate; empty when it may.

    `grace`: for how many seconds after the end of a certificate its key is good for a new one.
    """
    if identity is not None and identity.revoked:
        return (
            f"node {request.node} was revoked ({identity.revoked}); an administrator may let a machine join under this "
            f"name again by `octoedge node release {request.node}`"
        )
    return _RULES[request.shown](identity, request, now, grace)


def with_issued(identity: Identity | None, request: Request, issued: Issued) -> Identity:
    """The identity after a certificate was issued upon `request`."""
    old = identity if identity is not None else Identity(request.node)
    stays = request.shown in (Shown.CERTIFICATE, Shown.KEY) or _known_key(old, request.key) is not None
    if stays:
        listed = tuple(one for one in old.issued if one.serial != issued.serial)
        return msgspec.structs.replace(old, issued=(*listed, issued)[-_REMEMBERED:], released=False)
    joined_before = bool(old.issued) or request.known or old.only_listed
    return Identity(request.node, (issued,), only_listed=joined_before)


def takes_away(before: Identity | None, after: Identity) -> bool:
    """Whether a certificate that was good before is refused after."""
    if after.revoked:
        return before is None or not before.revoked
    if not after.only_listed:
        return False
    if before is None or not before.only_listed:
        return before is not None
    return not {one.serial for one in before.issued} <= {one.serial for one in after.issued}


def revoked(node: str, why: str) -> Identity:
    """The identity with every certificate refused."""
    return Identity(node, only_listed=True, revoked=why)


def released(identity: Identity | None, node: str) -> Identity:
    """The identity whose name the next machine may have. What was revoked stays so."""
    if identity is None:
        return Identity(node, released=True)
    return msgspec.structs.replace(identity, released=True, revoked="")


def _of_certificate(identity: Identity | None, request: Request, _now: float, _grace: float) -> str:
    return refuses_certificate(identity, request.serial)


def _of_bound_token(_identity: Identity | None, _request: Request, _now: float, _grace: float) -> str:
    return ""


def _of_open_token(identity: Identity | None, request: Request, _now: float, _grace: float) -> str:
    held = request.known and not (identity is not None and identity.released)
    if not held or (identity is not None and _known_key(identity, request.key) is not None):
        return ""
    node = request.node
    return (
        f"the name {node} is held by the machine that joined under it first. If this is another machine, give it "
        "another name (modules.edged.hostnameOverride). If it is the same one without its old disk, an administrator "
        f"makes a token for it by `keadm token create --node {node}`, or frees the name by "
        f"`octoedge node release {node}`"
    )


def _of_key(identity: Identity | None, request: Request, now: float, grace: float) -> str:
    issued = _known_key(identity, request.key) if identity is not None else None
    if issued is None:
        return "token is empty"
    if issued.until + grace < now:
        days = grace / 86400
        return (
            f"the certificate of node {request.node} ended more than {days:g} days ago; make a token for it by "
            f"`keadm token create --node {request.node}`"
        )
    return ""


_RULES = {
    Shown.CERTIFICATE: _of_certificate,
    Shown.BOUND: _of_bound_token,
    Shown.OPEN: _of_open_token,
    Shown.KEY: _of_key,
}


def _known_key(identity: Identity, key: str) -> Issued | None:
    """The latest certificate of this key."""
    return next((one for one in reversed(identity.issued) if hmac.compare_digest(one.key, key)), None)
