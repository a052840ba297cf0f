"""The cloud's CA, server certificate and join token, kept in Secrets exactly as KubeEdge keeps them.

    files → Secret → make a new one           (CA and server certificate, each; spec: channel, section 10)

Two CloudCores that start at once agree: whoever creates a Secret first wins and the other adopts it. A Secret that is
there and cannot be read is never overwritten, since every edge's certificate hangs on it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from octoedge.errors import ApiError, CertificateError
from octoedge.kube.client import Client
from octoedge.kube.kinds import NAMESPACES, SECRETS
from octoedge.pki import token, x509
from octoedge.runtime.clock import Clock

log = logging.getLogger(__name__)

NAMESPACE = "kubeedge"
_MAX_PEM = 1024 * 1024
_RENEW_BEFORE = 30 * 86400


@dataclass(frozen=True, slots=True)
class Files:
    """Where an administrator may have put PEM files of his own; used when both of a pair are there."""

    ca: Path
    ca_key: Path
    server: Path
    server_key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs for edges and knows their tokens."""

    ca: x509.Pair
    server: x509.Pair

    def sign_node(self, csr_der: bytes, node: str, *, days: int, now: float) -> bytes:
        """The certificate (DER) for `node`'s request; `CertificateError` says why not."""
        return x509.sign_node(self.ca, csr_der, node, days=days, now=now)

    def verify_token(self, bearer: str, *, now: float) -> None:
        """`TokenError` unless the bearer is one of this cloud's."""
        token.verify(bearer, self.ca.key, now=now)

    def mint(self, *, expires: int) -> str:
        """A join token."""
        return token.mint(self.ca.certificate, self.ca.key, expires=expires)


@dataclass(frozen=True, slots=True)
class _Slot:
    """A Secret that holds a pair."""

    secret: str
    certificate: str
    key: str


_CA = _Slot("casecret", "cadata", "cakeydata")
_SERVER = _Slot("cloudcoresecret", "cloudcoredata", "cloudcorekeydata")


class _Secret(msgspec.Struct, frozen=True):
    data: dict[str, str] | None = None


async def load(client: Client, files: Files, addresses: Sequence[str], clock: Clock) -> Authority:
    """The authority of this cloud: adopted when it exists, made when it does not."""
    await _ensure_namespace(client)
    now = clock.now()
    ca = _from_files(files.ca, files.ca_key) or await _adopt_or_create(client, _CA, lambda: x509.new_authority(now))
    server = _from_files(files.server, files.server_key)
    if server is None:
        server = await _adopt_or_create(client, _SERVER, lambda: x509.new_server(ca, addresses, now))
        why = _unfit(ca, server, addresses, now)
        if why:
            log.warning("making a new server certificate: %s", why)
            server = x509.new_server(ca, addresses, now)
            await _replace(client, _SERVER, server)
    return Authority(ca, server)


class TokenKeeper:
    """Module: writes a fresh join token into the Secret kubeedge/tokensecret every `hours`, valid twice as long."""

    name = "tokens"
    needs: tuple[str, ...] = ("authority",)
    restart = True

    def __init__(self, client: Client, authority: Callable[[], Authority], clock: Clock, *, hours: int) -> None:
        self._client = client
        self._authority = authority
        self._clock = clock
        self._seconds = hours * 3600

    async def run(self, ready: Callable[[], None]) -> None:
        """Write a token now and again and again."""
        while True:
            minted = self._authority().mint(expires=int(self._clock.now()) + 2 * self._seconds)
            await _write(self._client, "tokensecret", {"tokendata": minted.encode()})
            ready()
            await asyncio.sleep(self._seconds)


async def _ensure_namespace(client: Client) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    try:
        await client.get(NAMESPACES, "", NAMESPACE)
    except ApiError as error:
        if error.code != 404:
            raise
        await _create(client.create(NAMESPACES, "", msgspec.json.encode(body)))


async def _create(request: Awaitable[bytes]) -> bool:
    """Await a create; False when somebody else was first."""
    try:
        await request
    except ApiError as error:
        if error.code != 409:
            raise
        return False
    return True


async def _adopt_or_create(client: Client, slot: _Slot, make: Callable[[], x509.Pair]) -> x509.Pair:
    found = await _read(client, slot)
    if found is not None:
        return found
    made = make()
    body = _secret(slot.secret, {slot.certificate: made.certificate, slot.key: made.key})
    if await _create(client.create(SECRETS, NAMESPACE, body)):
        log.info("made the Secret %s/%s", NAMESPACE, slot.secret)
        return made
    adopted = await _read(client, slot)
    if adopted is None:
        raise CertificateError(f"the Secret {NAMESPACE}/{slot.secret} was made and removed by somebody else meanwhile")
    return adopted


async def _read(client: Client, slot: _Slot) -> x509.Pair | None:
    where = f"the Secret {NAMESPACE}/{slot.secret}"
    try:
        body = await client.get(SECRETS, NAMESPACE, slot.secret)
    except ApiError as error:
        if error.code != 404:
            raise
        return None
    try:
        data = msgspec.json.decode(body, type=_Secret).data or {}
        pair = x509.Pair(_base64(data[slot.certificate]), _base64(data[slot.key]))
    except (KeyError, msgspec.DecodeError, binascii.Error) as error:
        raise CertificateError(
            f"{where} lacks {slot.certificate} or {slot.key}; restore it from a backup, or delete it and let every "
            "edge join again"
        ) from error
    x509.check_pair(pair, where)
    return pair


async def _replace(client: Client, slot: _Slot, pair: x509.Pair) -> None:
    await _write(client, slot.secret, {slot.certificate: pair.certificate, slot.key: pair.key})


async def _write(client: Client, name: str, data: dict[str, bytes]) -> None:
    patch = msgspec.json.encode({"data": {key: base64.b64encode(value).decode() for key, value in data.items()}})
    try:
        await client.patch(SECRETS, NAMESPACE, name, patch)
    except ApiError as error:
        if error.code != 404:
            raise
        if not await _create(client.create(SECRETS, NAMESPACE, _secret(name, data))):
            await client.patch(SECRETS, NAMESPACE, name, patch)


def _secret(name: str, data: dict[str, bytes]) -> bytes:
    return msgspec.json.encode(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "type": "Opaque",
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }
    )


def _base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _from_files(certificate: Path, key: Path) -> x509.Pair | None:
    try:
        with certificate.open("rb") as first, key.open("rb") as second:
            return x509.from_pem(first.read(_MAX_PEM), second.read(_MAX_PEM), f"{certificate} with {key}")
    except OSError:
        return None


def _unfit(ca: x509.Pair, server: x509.Pair, addresses: Sequence[str], now: float) -> str:
    """Why the kept server certificate will not do, or nothing."""
    seen = x509.read_der(server.certificate, "the server certificate")
    missing = {address for address in addresses if address} - seen.addresses
    if missing:
        return f"edges use {', '.join(sorted(missing))}, which the one in Secret {_SERVER.secret} does not name"
    if seen.not_after - now < _RENEW_BEFORE:
        return "the old one ends soon"
    try:
        x509.check_issued_by(ca, server.certificate, "the server certificate")
    except CertificateError as error:
        return str(error)
    return ""
