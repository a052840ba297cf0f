"""How to reach an API server: read from a kubeconfig file or from the Pod that we run in.

`kubeconfig(path)` and `in_cluster()` give an `Access`: address, TLS context and where the bearer token comes from. What
is not supported (exec and auth-provider plugins) is said so instead of failing later with 401. Tokens and certificates
are renewed on disk by whoever made them: a client that runs for long looks again (`Access.look`).
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from octoedge.errors import ConfigError

_MAX_FILE = 4 * 1024 * 1024
_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_UNSUPPORTED = ("exec", "auth-provider", "username")


@dataclass(frozen=True, slots=True)
class Access:
    """Where an API server is and who we are to it."""

    server: str
    """`https://host:port`, without a slash at the end."""
    tls: ssl.SSLContext | None = None
    server_hostname: str | None = None
    """The name that the server's certificate must show, when it differs from the address."""
    token: str = ""
    token_file: Path | None = None
    """Read again from time to time: tokens of Pods are renewed on disk."""
    origin: str = ""
    """Where this was read, for error texts."""
    look: Callable[[], bool] | None = None
    """Takes up the certificates that are on disk by now, into `tls`, for new connections; whether they are new.

    Raises `ConfigError` when they cannot be used.
    """


def kubeconfig(path: Path, *, context: str = "", server: str = "") -> Access:
    """The access that a kubeconfig file describes; `server` overrides its address."""
    cluster, user, user_name = _sections(path, context)
    for key in _UNSUPPORTED:
        if key in user:
            raise ConfigError(
                f"{path}: user {user_name} logs in by {key}, which is not supported; "
                "use a client certificate or a token"
            )
    address = server or str(cluster.get("server") or "")
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"{path}: the server address {address!r} does not begin with https://")
    token_file = user.get("tokenFile")
    tls = _Tls(path, context) if address.startswith("https://") else None
    return Access(
        server=address.rstrip("/"),
        tls=tls.context if tls else None,
        server_hostname=cluster.get("tls-server-name"),
        token=str(user.get("token") or ""),
        token_file=_beside(path, token_file) if token_file else None,
        origin=str(path),
        look=tls.look if tls else None,
    )


def in_cluster(folder: Path = _POD) -> Access:
    """The access of the Pod that this process runs in."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (folder / "token").exists():
        raise ConfigError(
            "no kubeconfig is given and this process does not run in a Pod; set kubeAPIConfig.kubeConfig to a file"
        )
    tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    address = f"[{host}]" if ":" in host else host
    return Access(f"https://{address}:{port}", tls, token_file=folder / "token", origin=str(folder))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            document = yaml.safe_load(file.read(_MAX_FILE))
    except OSError as error:
        raise ConfigError(f"cannot read the kubeconfig {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"the kubeconfig {path} is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"the kubeconfig {path} is not a mapping")
    return document


def _sections(path: Path, context: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The cluster and the user of a context, and the user's name."""
    document = _read_yaml(path)
    name = context or str(document.get("current-context") or "")
    chosen = _named(document, "contexts", "context", name, path)
    cluster = _named(document, "clusters", "cluster", str(chosen.get("cluster") or ""), path)
    user_name = str(chosen.get("user") or "")
    return cluster, _named(document, "users", "user", user_name, path) if user_name else {}, user_name


def _named(document: dict[str, Any], listing: str, key: str, name: str, path: Path) -> dict[str, Any]:
    for entry in document.get(listing) or []:
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(key), dict):
            found: dict[str, Any] = entry[key]
            return found
    raise ConfigError(f"the kubeconfig {path} has no {key} named {name!r}")


class _Tls:
    """The TLS context of a kubeconfig, which can follow the file."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        cluster, user, _ = _sections(path, name)
        self._loaded = _materials(cluster, user, path)
        try:
            # Without an authority of its own, the machine's count.
            self.context = ssl.create_default_context(cadata=_text(self._loaded[0]))
        except (ssl.SSLError, ValueError) as error:
            raise self._useless(error) from error
        if cluster.get("insecure-skip-tls-verify"):
            self.context.check_hostname = False
            self.context.verify_mode = ssl.CERT_NONE
        self._load_chain(*self._loaded[1:])

    def look(self) -> bool:
        """Take up what is there now."""
        cluster, user, _ = _sections(self._path, self._name)
        found = _materials(cluster, user, self._path)
        if found == self._loaded:
            return False
        if found[0]:
            try:
                self.context.load_verify_locations(cadata=_text(found[0]))
            except (ssl.SSLError, ValueError) as error:
                raise self._useless(error) from error
        self._load_chain(*found[1:])
        self._loaded = found
        return True

    def _load_chain(self, certificate: bytes | None, key: bytes | None) -> None:
        if certificate and key:
            try:
                _load_chain(self.context, certificate, key)
            except (ssl.SSLError, ValueError) as error:
                raise self._useless(error) from error

    def _useless(self, error: Exception) -> ConfigError:
        return ConfigError(f"the certificates in the kubeconfig {self._path} cannot be used: {error}")


def _materials(
    cluster: dict[str, Any], user: dict[str, Any], path: Path
) -> tuple[bytes | None, bytes | None, bytes | None]:
    """The CA, the client's certificate and its key, as PEM."""
    authority = _material(cluster, "certificate-authority", path)
    return authority, _material(user, "client-certificate", path), _material(user, "client-key", path)


def _text(pem: bytes | None) -> str | None:
    return pem.decode("ascii") if pem else None


def _material(section: dict[str, Any], name: str, path: Path) -> bytes | None:
    inline, file = section.get(f"{name}-data"), section.get(name)
    if inline:
        try:
            return base64.b64decode(str(inline), validate=True)
        except binascii.Error as error:
            raise ConfigError(f"{path}: {name}-data is not base64") from error
    if not file:
        return None
    try:
        with _beside(path, str(file)).open("rb") as opened:
            return opened.read(_MAX_FILE)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read {name} {file}: {error.strerror}") from error


def _load_chain(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """The ssl module takes files only: they live for a moment in a folder that nobody else can read."""
    with tempfile.TemporaryDirectory(prefix="octoedge-") as folder:
        chain, private = Path(folder, "crt"), Path(folder, "key")
        private.touch(mode=0o600)
        chain.write_bytes(certificate)
        private.write_bytes(key)
        context.load_cert_chain(chain, private)


def _beside(path: Path, name: str) -> Path:
    """Relative names in a kubeconfig are relative to the file itself."""
    return path.parent / name
