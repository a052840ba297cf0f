"""How a node comes to its certificate, and keeps it (spec: channel, section 11).

    CHECK ── good ──────────────────────────────────────────────► ENROLLED
      └─ missing, foreign, expired ─► FETCH_CA ─► REQUEST ─► INSTALL ─┘
    renew, return after a sleep:   REQUEST (showing the old one, or signing with its key) ─► INSTALL

`FETCH_CA` trusts the CA by its hash in the join token; `REQUEST` shows the token (or, when renewing, the certificate
that is still good). A crash between two steps repeats them; between the two renames of `INSTALL` the next `CHECK`
finishes what was begun, so that key and certificate always fit together.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

import msgspec

from octoedge.edge.edgehub import certificate, https
from octoedge.errors import CertificateError, ConnectError, PkiError, TokenError, TransportError
from octoedge.protocol import handshake
from octoedge.protocol.handshake import certificate_name
from octoedge.runtime.clock import Clock
from octoedge.store import durable

log = logging.getLogger(__name__)

BOOTSTRAP_FILE = Path("/etc/kubeedge/bootstrap-edgecore.conf")
"""Holds the join token where keadm put it; goes before the token in the configuration file."""
_MAX_TOKEN = 8192
_REFUSED = frozenset({401, 403})


class Step(enum.Enum):
    """Where enrolment stands."""

    CHECK = "check the certificate on disk"
    FETCH_CA = "fetch the CA of the cloud"
    REQUEST = "ask for a certificate"
    INSTALL = "write the certificate"
    ENROLLED = "enrolled"


class Files(msgspec.Struct, frozen=True):
    """The three PEM files of a node."""

    ca: Path
    certificate: Path
    key: Path


class _Flaw(msgspec.Struct, frozen=True):
    """Why the files on disk will not do."""

    why: str
    only_expired: bool = False
    """The pair is whole and ours, and its time is over by this machine's clock."""


class Enrolment(msgspec.Struct):
    """Sees to it that the node has a certificate of its own."""

    node: str
    http_server: str
    """`https://host:10002`."""
    files: Files
    clock: Clock
    token: str = ""
    """Join token from the configuration file."""
    forget_token: Callable[[], None] = lambda: None
    """Blanks the token in the configuration file; called when the node has its certificate."""
    bootstrap_file: Path = BOOTSTRAP_FILE
    limits: https.Limits = https.LIMITS
    step: Step = Step.CHECK

    async def ensure(self) -> None:
        """Return when there is a certificate to connect with.

        Raises `ConnectError` when the cloud cannot be asked (try again), `TokenError` when there is none to show or the
        cloud refuses it (a person must act). Without a token the key of an expired certificate is shown; what the cloud
        then refuses is tried all the same: the clock may be wrong, and the cloud decides.
        """
        self.step = Step.CHECK
        flaw = self._flaw()
        if flaw is None:
            self.step = Step.ENROLLED
            return
        token = self._join_token()
        if not token:
            await self._without_token(flaw)
            return
        log.info("%s: joining as node %s at %s", flaw.why, self.node, self.http_server)
        self.step = Step.FETCH_CA
        ca_pem = await self._fetch_ca(token)
        self.step = Step.REQUEST
        _write(self.files.ca, ca_pem)
        key_pem, certificate_pem = await self._request_certificate(
            _trusting(self.files.ca), token, self._own_key() if flaw.only_expired else b""
        )
        self.step = Step.INSTALL
        self._install(key_pem, certificate_pem)
        self.forget_token()
        self.step = Step.ENROLLED
        log.info("node %s has its certificate: %s", self.node, self.files.certificate)

    async def renew(self) -> None:
        """Get a new key and certificate, showing the ones we have. Raises `ConnectError`, `TokenError`."""
        if certificate.load(self.files.certificate).not_after <= self.clock.now():
            await self._return()
            return
        context = _trusting(self.files.ca)
        try:
            context.load_cert_chain(self.files.certificate, self.files.key)
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(f"cannot use {self.files.certificate}: {error}") from error
        key_pem, certificate_pem = await self._request_certificate(context, "")
        self._install(key_pem, certificate_pem)
        log.info("node %s has a new certificate: %s", self.node, self.files.certificate)

    def renewal_due(self, share: float) -> float:
        """Seconds from now until `share` (0.7 to 0.9) of the certificate's life is over; not above zero when it is."""
        seen = certificate.load(self.files.certificate)
        return seen.not_before + (seen.not_after - seen.not_before) * share - self.clock.now()

    def _flaw(self) -> _Flaw | None:
        """What is wrong with the files on disk; None when they will do."""
        self._finish_install()
        if not self.files.certificate.exists():
            return _Flaw(f"there is no certificate {self.files.certificate}")
        try:
            seen = certificate.load(self.files.certificate)
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(self.files.certificate, self.files.key)
            _trusting(self.files.ca)
        except (CertificateError, OSError, ssl.SSLError) as error:
            return _Flaw(f"the certificate files cannot be used ({error})")
        if seen.common_name != certificate_name(self.node):
            why = f"the certificate {self.files.certificate} is for {seen.common_name!r}, not for node {self.node}"
            return _Flaw(why)
        if seen.not_after <= self.clock.now():
            return _Flaw(f"the certificate {self.files.certificate} has expired", only_expired=True)
        return None

    async def _without_token(self, flaw: _Flaw) -> None:
        if flaw.only_expired:
            try:
                await self._return()
            except (PkiError, TransportError) as error:
                log.warning(
                    "%s (%s); there is no join token either, so connecting with it all the same", flaw.why, error
                )
            self.step = Step.ENROLLED
            return
        raise TokenError(
            f"{flaw.why}, and there is no join token; put one into edgeHub.token or {self.bootstrap_file} "
            "(`keadm gettoken` on the cloud prints it)"
        )

    async def _return(self) -> None:
        """A new certificate for the key of one that has expired: a cloud of ours gives it, within days that it sets."""
        self.step = Step.REQUEST
        key_pem, certificate_pem = await self._request_certificate(_trusting(self.files.ca), "", self._own_key())
        self.step = Step.INSTALL
        self._install(key_pem, certificate_pem)
        log.info("node %s returns with a new certificate after the old one had expired", self.node)

    def _own_key(self) -> bytes:
        try:
            return self.files.key.read_bytes()
        except OSError as error:
            raise CertificateError(f"cannot read {self.files.key}: {error.strerror}") from error

    def _join_token(self) -> str:
        """The token, read anew each time: a person may have replaced it."""
        with contextlib.suppress(OSError), self.bootstrap_file.open() as file:
            return file.read(_MAX_TOKEN).strip()
        return self.token.strip()

    async def _fetch_ca(self, token: str) -> bytes:
        from octoedge.pki.token import check_ca, split

        split(token)
        unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE  # the CA is recognised by its hash in the token, see below
        answer = await https.get(f"{self.http_server}{handshake.CA_PATH}", unverified, limits=self.limits)
        if answer.status != 200:
            raise ConnectError(f"{self.http_server}{handshake.CA_PATH} answered HTTP {answer.status}: {answer.text}")
        check_ca(token, answer.body)
        return _pem(answer.body)

    async def _request_certificate(
        self, context: ssl.SSLContext, token: str, own_key: bytes = b""
    ) -> tuple[bytes, bytes]:
        """(key, certificate), both PEM; the key is a new one unless `own_key` (PEM) is given."""
        from octoedge.pki.enrol import request_key_and_csr
        from octoedge.pki.token import split

        made = await request_key_and_csr(self.node, own_key)
        headers = {handshake.NODE_NAME: self.node}
        if token:
            headers["Authorization"] = f"Bearer {split(token)[1]}"
        answer = await https.get(
            f"{self.http_server}{handshake.CERTIFICATE_PATH}",
            context,
            body=made.csr_der,
            headers=headers,
            limits=self.limits,
        )
        if answer.status in _REFUSED:
            raise TokenError(f"the cloud refuses a certificate for node {self.node}: {answer.text}")
        if answer.status != 200:
            raise ConnectError(
                f"{self.http_server}{handshake.CERTIFICATE_PATH} answered HTTP {answer.status}: {answer.text}"
            )
        issued = certificate.parse(answer.body)
        if issued.common_name != certificate_name(self.node):
            raise CertificateError(f"the cloud issued a certificate for {issued.common_name!r}, not for {self.node}")
        return made.key_pem, _pem(answer.body)

    def _install(self, key_pem: bytes, certificate_pem: bytes) -> None:
        _write(_new(self.files.key), key_pem)
        _write(_new(self.files.certificate), certificate_pem)
        durable.move(_new(self.files.key), self.files.key)
        durable.move(_new(self.files.certificate), self.files.certificate)

    def _finish_install(self) -> None:
        """A crash between the two renames left a new key beside an old certificate: bring the certificate after it."""
        waiting = _new(self.files.certificate)
        if waiting.exists() and _is_pair(waiting, self.files.key):
            durable.move(waiting, self.files.certificate)


def _trusting(ca: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(ca)
    return context


def _is_pair(certificate_file: Path, key_file: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate_file, key_file)
    except (OSError, ssl.SSLError):
        return False
    return True


def _pem(der: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).encode()


def _new(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _write(path: Path, data: bytes) -> None:
    """Write the file whole or not at all, readable by its owner only."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write(path, data)
    except OSError as error:
        raise PkiError(f"cannot write {path}: {error.strerror}; make its directory writable for EdgeCore") from error
