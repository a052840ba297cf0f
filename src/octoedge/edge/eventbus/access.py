"""Who may come to the node's own broker: its listeners, users and rights, as mosquitto is told them.

    without users: the loopback, and nobody is asked who he is, as KubeEdge's own broker does
    with users:    `mqttServerInternal` with passwords, rights, and TLS; EventBus comes by a Unix socket beside it

mosquitto reads its files after it has given up root, so each is copied into its own folder, for its user alone.
"""

from __future__ import annotations

import ipaddress
import re
import stat
import urllib.parse
from pathlib import Path

import msgspec

from octoedge.api.config.edgecore import OwnBroker
from octoedge.errors import ConfigError
from octoedge.protocol.topics import SUBSCRIBED

_KEY = "modules.eventBus.mqttServerInternal"
_SECTION = "octoedge.broker"
_PORTS = {"tcp": 1884, "mqtt": 1884, "ssl": 8884, "tls": 8884, "mqtts": 8884}
_ENCRYPTED = ("ssl", "tls", "mqtts")
_MAX_FILE = 1 << 20
_USER = re.compile(rb"[^:\s][^:\n]*:\$\d+\$\S+")
_LISTENED = tuple(topic for topic in SUBSCRIBED if topic.startswith("$"))
DEFAULT_RIGHTS = "".join(
    f"pattern {right}\n"
    for right in ("readwrite #", "readwrite $ke/#", "read $hw/#", *(f"write {topic}" for topic in _LISTENED))
)
"""Every user may do what KubeEdge's clients do; what DeviceTwin tells them, nobody else may say."""


class Access(msgspec.Struct, frozen=True):
    """The broker's door."""

    host: str
    port: int
    encrypted: bool = False
    given: OwnBroker = OwnBroker()

    @property
    def asks(self) -> bool:
        """Whether clients must say who they are."""
        return bool(self.given.password_file)

    def lines(self, folder: Path) -> list[str]:
        """Of the broker's configuration; its files are in `folder`."""
        listener = f"listener {self.port} {self.host}"
        if not self.asks:
            return [listener, "allow_anonymous true"]
        lines = ["per_listener_settings true", f"listener 0 {socket_in(folder)}", "allow_anonymous true", listener]
        lines += ["allow_anonymous false", f"password_file {folder}/users", f"acl_file {folder}/rights"]
        if self.encrypted:
            lines += [f"certfile {folder}/tls.crt", f"keyfile {folder}/tls.key", "tls_version tlsv1.2"]
        if self.given.tls_client_ca_file:
            lines += [f"cafile {folder}/clients.crt", "require_certificate true"]
        return lines

    def files(self) -> dict[str, bytes]:
        """What goes into the broker's folder, by name. Raises `ConfigError`."""
        if not self.asks:
            return {}
        given = self.given
        found = {"users": _passwords(Path(given.password_file)), "rights": DEFAULT_RIGHTS.encode()}
        if given.acl_file:
            found["rights"] = _read("aclFile", Path(given.acl_file))
        if self.encrypted:
            found["tls.crt"] = _read("tlsCertFile", Path(given.tls_cert_file))
            found["tls.key"] = _read("tlsPrivateKeyFile", Path(given.tls_private_key_file))
        if given.tls_client_ca_file:
            found["clients.crt"] = _read("tlsClientCAFile", Path(given.tls_client_ca_file))
        return found


def socket_in(folder: Path) -> Path:
    """Where EventBus comes in when others must say who they are: only root and the broker's user get there."""
    return folder / "eventbus.sock"


def access(url: str, given: OwnBroker) -> Access:
    """The door of the broker at `url`; `ConfigError` when it would be open to the world, or cannot be."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise ConfigError(f"{_KEY}: {url!r} is no address: {error}") from error
    if parts.scheme not in _PORTS:
        raise ConfigError(f"{_KEY} is {url!r}; it should look like tcp://127.0.0.1:1884 or ssl://0.0.0.0:8884")
    encrypted = parts.scheme in _ENCRYPTED
    if not given.password_file:
        _without_users(url, host, encrypted, given)
        return Access(host, port)
    if not encrypted and not _is_loopback(host):
        raise ConfigError(
            f"{_KEY} is {url!r}; without TLS everybody on the way could read passwords, so the broker listens on the "
            f"loopback only: make it ssl://{host}:8884 and name {_SECTION}.tlsCertFile and tlsPrivateKeyFile"
        )
    if encrypted and not (given.tls_cert_file and given.tls_private_key_file):
        raise ConfigError(f"{_KEY} is {url!r}; TLS needs {_SECTION}.tlsCertFile and {_SECTION}.tlsPrivateKeyFile")
    if given.tls_client_ca_file and not encrypted:
        raise ConfigError(f"{_SECTION}.tlsClientCAFile is set, but {_KEY} is {url!r}; make it ssl://{host}:8884")
    if not _is_address(host):
        raise ConfigError(f"{_KEY} is {url!r}; name an IP address of this node to listen on, or 0.0.0.0 for all")
    found = Access(host, port, encrypted, given)
    found.files()  # a file that is missing is said now
    return found


def _without_users(url: str, host: str, encrypted: bool, given: OwnBroker) -> None:
    if encrypted or not _is_loopback(host):
        raise ConfigError(
            f"{_KEY} is {url!r}; EdgeCore's own broker asks nobody who he is and so listens on the loopback only, as "
            f"in tcp://127.0.0.1:1884. For clients elsewhere name a file of users as {_SECTION}.passwordFile, made by "
            "mosquitto_passwd"
        )
    if given != OwnBroker():
        raise ConfigError(f"{_SECTION} needs {_SECTION}.passwordFile, a file of users made by mosquitto_passwd")


def _passwords(path: Path) -> bytes:
    data = _read("passwordFile", path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigError(f"{_SECTION}.passwordFile: {path} may be read by others (mode {mode:04o}): chmod 600 {path}")
    for number, line in enumerate(data.splitlines(), start=1):
        if line.strip() and not line.startswith(b"#") and not _USER.fullmatch(line):
            raise ConfigError(
                f"{_SECTION}.passwordFile: line {number} of {path} is not USER:HASH; make the file with "
                f"`mosquitto_passwd -c {path} USER`, or hash one written by hand with `mosquitto_passwd -U {path}`"
            )
    return data


def _read(key: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(f"{_SECTION}.{key}: {path} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_FILE:
        raise ConfigError(f"{_SECTION}.{key}: {path} is larger than {_MAX_FILE >> 20} MiB")
    return data


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
