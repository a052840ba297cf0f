"""Where it is kept whose each node's name is: a ConfigMap per node in namespace kubeedge (see `identity`).

    claim     read → decide (pure) → sign → write, on the version that was read → hand out the certificate
    refuses   from a copy kept by a watch, so that a door needs no request; a change is told to `listen`ers

Two machines, or two CloudCores, that claim one name at once: one write wins, the other reads again and decides anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from octoedge.errors import ApiError, NameHeld, PkiError
from octoedge.kube.client import Client
from octoedge.kube.informer import Informer
from octoedge.kube.kinds import CONFIGMAPS
from octoedge.pki import identity
from octoedge.pki.identity import Identity, Issued, Request

log = logging.getLogger(__name__)

NAMESPACE = "kubeedge"
LABEL = "octoedge.io/node-identity"
_PREFIX = "node-identity."
_KEY = "identity"
_TRIES = 5


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    resource_version: str = ""


class _ConfigMap(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    data: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and what is written down about it."""

    der: bytes
    issued: Issued


class Ledger:
    """Module: keeps the copy, and writes."""

    name = "identities"
    needs: tuple[str, ...] = ("authority",)

    def __init__(self, client: Client) -> None:
        self._client = client
        self._identities: dict[str, Identity] = {}
        self._changed: list[Callable[[str], None]] = []

    def listen(self, changed: Callable[[str], None]) -> None:
        """Be told the name of each node one of whose certificates is refused from now on."""
        self._changed.append(changed)

    def refuses(self, node: str, serial: str) -> str:
        """Why the holder of this certificate, which the CA signed, is not let in; empty when he is."""
        return identity.refuses_certificate(self._identities.get(node), serial)

    def knows(self, node: str) -> bool:
        """Whether a certificate was issued for this name."""
        return node in self._identities

    async def claim(self, request: Request, sign: Callable[[], Certificate], *, now: float, grace: float) -> bytes:
        """The certificate (DER) for a request. Raises `NameHeld`, `ApiError`, or what `sign` raises."""
        for _ in range(_TRIES):
            known, version = await _read(self._client, request.node)
            why = identity.refusal(known, request, now=now, grace=grace)
            if why:
                raise NameHeld(why)
            made = sign()
            after = identity.with_issued(known, request, made.issued)
            if await _write(self._client, after, version):
                self._set(request.node, after)  # the watch is later than the machine, which connects at once
                return made.der
        raise PkiError(f"others kept asking for certificates of node {request.node} at the same time; try again")

    async def run(self, ready: Callable[[], None]) -> None:
        """Watch until cancelled."""
        informer = Informer(self._client, CONFIGMAPS, self._take, namespace=NAMESPACE, labels=f"{LABEL}=true")
        async with asyncio.TaskGroup() as group:
            group.create_task(informer.run(), name="node identities")
            await informer.wait_synced()
            ready()

    def _take(self, old: bytes | None, new: bytes | None) -> None:
        try:
            seen = _decode(new if new is not None else old or b"")
        except PkiError as error:
            log.error("%s", error)
            return
        if new is None and seen.only_listed:
            log.warning("the record of node %s was deleted; it limited which of its certificates are good", seen.node)
        self._set(seen.node, seen if new is not None else None)

    def _set(self, node: str, after: Identity | None) -> None:
        before = self._identities.pop(node, None)
        if after is None:
            return
        self._identities[node] = after
        if identity.takes_away(before, after):
            log.warning("node %s: certificates that were good are refused from now on", node)
            for tell in self._changed:
                tell(node)


async def revoke(client: Client, node: str, why: str, *, now: float) -> None:
    """Refuse every certificate of a node from now on."""
    said = f"{datetime.fromtimestamp(int(now), UTC):%Y-%m-%dT%H:%M:%SZ}" + (f": {why}" if why else "")
    await _change(client, node, lambda _: identity.revoked(node, said))


async def release(client: Client, node: str) -> None:
    """Let the next machine that shows a join token have the node's name; what was revoked stays refused."""
    await _change(client, node, lambda known: identity.released(known, node))


async def read_all(client: Client) -> list[Identity]:
    """What is kept of every node, by name."""
    listing = await client.list(CONFIGMAPS, NAMESPACE, labels=f"{LABEL}=true")
    return sorted((_decode(item) for item in listing.items), key=lambda one: one.node)


async def _change(client: Client, node: str, change: Callable[[Identity | None], Identity]) -> None:
    for _ in range(_TRIES):
        known, version = await _read(client, node)
        if await _write(client, change(known), version):
            return
    raise PkiError(f"the record of node {node} was changed by others all the time; try again")


async def _read(client: Client, node: str) -> tuple[Identity | None, str]:
    """(identity, version of its object)."""
    try:
        body = await client.get(CONFIGMAPS, NAMESPACE, _PREFIX + node)
    except ApiError as error:
        if error.code != 404:
            raise
        return None, ""
    return _decode(body), msgspec.json.decode(body, type=_ConfigMap).metadata.resource_version


def _decode(body: bytes) -> Identity:
    try:
        seen = msgspec.json.decode(body, type=_ConfigMap)
        found = msgspec.json.decode((seen.data or {}).get(_KEY, ""), type=Identity)
    except msgspec.DecodeError as error:
        raise PkiError(
            f"a ConfigMap with label {LABEL} in namespace {NAMESPACE} holds no record of a node ({error}); restore it, "
            "or delete it and let the node join anew"
        ) from error
    if seen.metadata.name != _PREFIX + found.node:
        raise PkiError(f"the ConfigMap {NAMESPACE}/{seen.metadata.name} speaks of node {found.node}; delete it")
    return found


async def _write(client: Client, after: Identity, version: str) -> bool:
    """Create the record, or replace the version that was read; False when somebody else was first."""
    name = _PREFIX + after.node
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {LABEL: "true"}}
    if version:
        metadata["resourceVersion"] = version
    data = {_KEY: msgspec.json.encode(after).decode()}
    body = msgspec.json.encode({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    try:
        if version:
            await client.update(CONFIGMAPS, NAMESPACE, name, body)
        else:
            await client.create(CONFIGMAPS, NAMESPACE, body)
    except ApiError as error:
        if error.code not in (404, 409):
            raise
        return False
    return True
