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

from octoedge.errors import ApiError, CertificateError, PkiError, TransportError
from octoedge.kube.client import Client
from octoedge.kube.kinds import NAMESPACES, SECRETS
from octoedge.pki import jointoken, token, x509
from octoedge.pki.identity import Issued
from octoedge.pki.ledger import Certificate
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.clock import Clock
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

NAMESPACE = "kubeedge"
_MAX_PEM = 1024 * 1024
_RENEW_BEFORE = 30 * 86400
_WARN_CA = 90 * 86400
_KEEP_EXPIRED = 7 * 86400
"""Seconds for which `keadm token list` still shows a token that has ended."""
_RETRY_SECONDS = 60.0
_SUBJECT = f"join token in the Secret {NAMESPACE}/tokensecret"


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

    def sign(self, csr_der: bytes, node: str, *, days: int, now: float) -> Certificate:
        """As `sign_node`, with what is written down about it."""
        der = self.sign_node(csr_der, node, days=days, now=now)
        seen = x509.read_der(der, "the new certificate")
        return Certificate(der, Issued(seen.serial, x509.key_of_request(csr_der, node), seen.not_after))

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
    return Authority(ca, await _server(client, ca, files, addresses, now))


async def renewed(
    client: Client, authority: Authority, files: Files, addresses: Sequence[str], clock: Clock
) -> Authority:
    """The same authority with the server certificate as it should be by now; its CA stays, whatever became of it."""
    return Authority(authority.ca, await _server(client, authority.ca, files, addresses, clock.now()))


async def _server(client: Client, ca: x509.Pair, files: Files, addresses: Sequence[str], now: float) -> x509.Pair:
    """The administrator's own; else the one that is kept, made anew when it will not do."""
    server = _from_files(files.server, files.server_key)
    if server is None:
        server = await _adopt_or_create(client, _SERVER, lambda: x509.new_server(ca, addresses, now))
        why = _unfit(ca, server, addresses, now)
        if why:
            log.warning("making a new server certificate: %s", why)
            server = x509.new_server(ca, addresses, now)
            await _replace(client, _SERVER, server)
    return server


class TokenKeeper:
    """Module: writes a fresh join token into the Secret kubeedge/tokensecret every `hours`, valid twice as long;
    says what ends soon, and removes tokens of `keadm token` that have ended."""

    name = "tokens"
    needs: tuple[str, ...] = ("authority",)
    restart = True

    def __init__(self, client: Client, authority: Callable[[], Authority], clock: Clock, *, hours: int) -> None:
        self._client = client
        self._authority = authority
        self._clock = clock
        self._seconds = hours * 3600
        self._said = SaidOnce(log)

    async def run(self, ready: Callable[[], None]) -> None:
        """Write a token now and again and again."""
        while True:
            for warning in _ending(self._authority(), self._clock.now()):
                log.warning("%s", warning)
            await self._written()
            ready()
            await asyncio.sleep(self._seconds)

    async def _written(self) -> None:
        """Return when a new token is there; the one before stays good for long while an API refuses it."""
        backoff = Backoff(first=1.0, limit=_RETRY_SECONDS)
        while True:
            minted = self._authority().mint(expires=int(self._clock.now()) + 2 * self._seconds)
            try:
                await _write(self._client, "tokensecret", {"tokendata": minted.encode()})
                await jointoken.delete_expired(self._client, before=self._clock.now() - _KEEP_EXPIRED)
            except (ApiError, TransportError, PkiError) as error:
                self._said.trouble(_SUBJECT, f"cannot be renewed: {error}; trying again")
                await asyncio.sleep(backoff.next())
            else:
                self._said.over(_SUBJECT, "renewed")
                return


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
    """The administrator's own pair; None when there is no key, for an EdgeCore of the machine writes its CA there too.

    What is there and cannot be read is never taken for none: a new CA would shut out every node.
    """
    found = _file(certificate), _file(key)
    if found[1] is None:
        return None
    if found[0] is None:
        raise CertificateError(f"{key} is there and {certificate} is not; give both files, or take both away")
    return x509.from_pem(found[0], found[1], f"{certificate} with {key}")


def _file(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_PEM)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CertificateError(
            f"{path} cannot be read: {error.strerror}; let this CloudCore's user read it, or name another file"
        ) from error


def _ending(authority: Authority, now: float) -> list[str]:
    """What an administrator should renew soon."""
    found: list[str] = []
    for what, pair, before, then in (
        ("CA certificate", authority.ca, _WARN_CA, "nodes trust it: give them a new one before (docs/security.md)"),
        (
            "server certificate",
            authority.server,
            _RENEW_BEFORE,
            "CloudCore makes its own anew in time, and takes up files that you replace",
        ),
    ):
        days = (x509.read_der(pair.certificate, what).not_after - now) / 86400
        if days * 86400 < before:
            found.append(f"the {what} of this cloud ends in {days:.0f} days; {then}")
    return found


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
