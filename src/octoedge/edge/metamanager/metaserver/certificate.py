"""What MetaServer shows its clients, and how people on this node reach it: `metaserver/` beside the database.

    ca.crt            what clients trust; pods find it in the ca.crt of their service account, beside the cluster's
    server.crt, .key  made here once, by a CA whose key is forgotten at once: it signs nothing else, ever
    kubeconfig        for root: the node's own certificate, which MetaServer takes for the node

Nothing of this needs the cloud. Where the configuration names a certificate (`tlsCertFile`, `tlsPrivateKeyFile`) it is
shown instead, and `ca.crt` holds what vouches for it: the rest of its chain, or `tlsCaFile`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from octoedge.errors import ConfigError, PkiError
from octoedge.store import durable

log = logging.getLogger(__name__)

AUDIENCES = ("https://kubernetes.default.svc.cluster.local", "https://kubernetes.default.svc", "api")
"""The audiences of tokens for the Kubernetes API."""
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_NAMES = ("127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
          "kubernetes.default.svc.cluster.local")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Files:
    """The folder, and what lies in it."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def certificate(self) -> Path:
        return self.folder / "server.crt"

    @property
    def key(self) -> Path:
        return self.folder / "server.key"

    @property
    def names(self) -> Path:
        """What the certificate was made for."""
        return self.folder / "names"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"


@dataclass(frozen=True, slots=True)
class Clients:
    """The node's own certificate, and the CA that it is of."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Given:
    """A certificate that an administrator has for this server."""

    certificate: Path
    key: Path
    ca: Path

    def trust(self, files: Files) -> None:
        """Tell clients on this node whom to believe. Raises `ConfigError`."""
        try:
            chain = _CERTIFICATE.findall(self.certificate.read_text())[1:]
            trusted = "\n".join([*chain, ""]) if chain else self.ca.read_text()
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key)
            files.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            durable.write(files.ca, trusted.encode())
        except (OSError, ValueError) as error:
            text = f"modules.metaManager.metaServer: the certificate {self.certificate} cannot be used: {error}"
            raise ConfigError(f"{text}; tlsCertFile, tlsPrivateKeyFile and tlsCaFile belong together") from error
        with contextlib.suppress(FileNotFoundError):
            files.names.unlink()  # without it a certificate and its CA are made anew when this one is taken back


def refuse_plain(host: str) -> None:
    """`ConfigError` where plain HTTP, which knows nobody, would be open to other machines."""
    if not ipaddress.ip_address(host).is_loopback:
        raise ConfigError(
            f"modules.metaManager.metaServer.server is {host}, and without the feature gate requireAuthorization"
            " everybody who reaches it is the node; use a loopback address, or switch the gate on"
        )


def ensure(files: Files, addresses: Sequence[tuple[str, int]]) -> None:
    """Make what is missing. Blocks for a moment the first time, so that no pod starts before it can trust this node."""
    names = list(dict.fromkeys([*(host for host, _ in addresses), *_NAMES]))
    if not _made_for(files, names):
        try:
            _make(files, names)
        except (OSError, PkiError) as error:
            log.error("MetaServer has no certificate: %s; restart EdgeCore when that is mended", error)


def context(files: Files, clients: Clients, address: tuple[str, int], given: Given | None = None) -> ssl.SSLContext:
    """The server's TLS. Raises `OSError` while the node has no certificate of its own yet."""
    durable.write(files.kubeconfig, _kubeconfig(files, clients, address).encode())
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_cert_chain(*((given.certificate, given.key) if given else (files.certificate, files.key)))
    made.load_verify_locations(clients.ca)
    made.verify_mode = ssl.CERT_OPTIONAL
    return made


def _made_for(files: Files, names: list[str]) -> bool:
    try:
        return files.names.read_text() == "\n".join(names) and files.key.exists() and files.certificate.exists()
    except OSError:
        return False


def _make(files: Files, names: list[str]) -> None:
    from octoedge.pki.enrol import serving_certificate

    files.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = serving_certificate(names)
    with contextlib.suppress(FileNotFoundError):
        files.names.unlink()  # what is cut off here is made anew
    durable.write(files.key, made.key)
    durable.write(files.certificate, made.certificate)
    durable.write(files.ca, made.ca)
    durable.write(files.names, "\n".join(names).encode())


def _kubeconfig(files: Files, clients: Clients, listening: tuple[str, int]) -> str:
    host, port = listening
    shown = f"[{host}]" if ":" in host else host
    return (
        "apiVersion: v1\nkind: Config\ncurrent-context: node\n"
        f'clusters: [{{name: node, cluster: {{server: "https://{shown}:{port}",'
        f' certificate-authority: "{files.ca}"}}}}]\n'
        f'users: [{{name: node, user: {{client-certificate: "{clients.certificate}",'
        f' client-key: "{clients.key}"}}}}]\n'
        "contexts: [{name: node, context: {cluster: node, user: node}}]\n"
    )
