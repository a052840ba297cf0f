"""Whose certificates count on the stream server (10003), where logs and later exec are asked for.

Go asks for a certificate and verifies none. Here a client must show one of the API server's client CA (ConfigMap
kube-system/extension-apiserver-authentication, which every API server publishes; re-read when it changes), or of the
file tlsStreamCAFile. Who it names must be in group system:masters or be allowed `get nodes/proxy` by the API server.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any

import msgspec

from octoedge.errors import ApiError, CertificateError, TransportError, forbidden
from octoedge.kube.client import Client
from octoedge.kube.informer import Informer
from octoedge.kube.kinds import CONFIGMAPS, Kind
from octoedge.runtime.logs import SaidOnce
from octoedge.transport.tls import ClientCertificate, common_name, server_context

log = logging.getLogger(__name__)

NAMESPACE = "kube-system"
CONFIGMAP = "extension-apiserver-authentication"
KEY = "client-ca-file"
MASTERS = "system:masters"

_REVIEWS = Kind("subjectaccessreviews", "SubjectAccessReview", "authorization.k8s.io", namespaced=False)
_SUBJECT = "stream server (kubectl logs)"


class _Data(msgspec.Struct, frozen=True):
    data: dict[str, str] | None = None


class _ReviewStatus(msgspec.Struct, frozen=True):
    allowed: bool = False
    reason: str = ""


class _Review(msgspec.Struct, frozen=True):
    status: _ReviewStatus = _ReviewStatus()


class ClientTrust:
    """The TLS context of the stream server; follows the API server's client CA."""

    def __init__(self, client: Client, certificate_pem: bytes, key_pem: bytes, own_ca_pem: bytes = b"") -> None:
        self._certificate = certificate_pem
        self._key = key_pem
        self._own_ca = own_ca_pem
        self._client_ca = b""
        self._context: ssl.SSLContext | None = None
        self._known = asyncio.Event()
        self._said = SaidOnce(log)
        self._informer = Informer(
            client, CONFIGMAPS, self._changed, namespace=NAMESPACE, fields=f"metadata.name={CONFIGMAP}"
        )

    async def run(self) -> None:
        """Follow the ConfigMap until cancelled."""
        if self._own_ca:
            self._use(b"")
        await self._informer.run()

    def serve_with(self, certificate_pem: bytes, key_pem: bytes) -> None:
        """Show another certificate from the next handshake on; one that is of no use is told of and left."""
        before = self._certificate, self._key
        self._certificate, self._key = certificate_pem, key_pem
        if not self._known.is_set():
            return
        if self._use(self._client_ca):
            log.info("the stream server shows its new certificate")
        else:
            self._certificate, self._key = before

    async def context(self) -> ssl.SSLContext:
        """A context for the listener, once a CA is known; every handshake uses what is current then."""
        await self._known.wait()
        assert self._context is not None
        return self._context

    def _changed(self, _old: bytes | None, new: bytes | None) -> None:
        # A ConfigMap that is gone says nothing about the certificates that were made: the last CA stays.
        if new is None:
            return
        try:
            pem = (msgspec.json.decode(new, type=_Data).data or {}).get(KEY, "").encode("ascii")
        except (msgspec.DecodeError, UnicodeEncodeError):
            pem = b""
        if not pem.strip():
            self._said.trouble(_SUBJECT, f"ConfigMap {NAMESPACE}/{CONFIGMAP} has no {KEY}; the last known CA counts")
            return
        self._use(pem)

    def _use(self, pem: bytes) -> bool:
        """Whether this is of use."""
        try:
            context = server_context(
                self._certificate, self._key, self._own_ca + b"\n" + pem, ClientCertificate.REQUIRED
            )
        except CertificateError as error:
            self._said.trouble(_SUBJECT, f"its certificate, or {KEY} in ConfigMap {CONFIGMAP}, is of no use: {error}")
            return False
        # A context cannot forget a CA and a listener keeps its context: each handshake moves on to the current one.
        context.sni_callback = self._move
        self._context, self._client_ca = context, pem
        self._said.over(_SUBJECT, "the client CA is known again")
        self._known.set()
        return True

    def _move(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
        if self._context is not None:
            connection.context = self._context


async def authorize(client: Client, certificate: dict[str, Any] | None, node: str) -> None:
    """`ApiError` 403 unless the certificate's user may speak to the kubelet of `node`."""
    user, groups = common_name(certificate), organizations(certificate)
    if MASTERS in groups:
        return
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "groups": [*groups, "system:authenticated"],
            "resourceAttributes": {"verb": "get", "resource": "nodes", "subresource": "proxy", "name": node},
        },
    }
    try:
        answer = await client.create(_REVIEWS, "", msgspec.json.encode(review))
        status = msgspec.json.decode(answer, type=_Review).status
    except (ApiError, TransportError, msgspec.DecodeError) as error:
        why = f"user {user!r} is not in group {MASTERS}, and the API server gave no verdict: {error}"
        raise forbidden(why) from error
    if not status.allowed:
        raise forbidden(f"user {user!r} may not get nodes/proxy of {node}: {status.reason or 'the API server says no'}")


def organizations(certificate: dict[str, Any] | None) -> list[str]:
    """All organizations of the subject (a user's groups), in the form that `getpeercert()` gives."""
    subject = (certificate or {}).get("subject", ())
    return [str(value) for parts in subject for name, value in parts if name == "organizationName"]
