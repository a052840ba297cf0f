"""What the installation asks its own API server and CloudCore: ready? the join token? how is the node?

A few blocking requests with the administrator's certificate, since commands do one thing after the other anyway.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import ssl
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octoedge.errors import ConfigError, InstallError
from octoedge.kube.access import kubeconfig

MAX_ANSWER = 16 << 20


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers GET requests with JSON."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    def get(self, path: str, timeout: float = 5) -> Any:
        """The answer as JSON. Raises `InstallError`."""
        status, body = self.read(path, timeout)
        if status != 200:
            raise InstallError(f"{self.url(path)} answered {status}: {_reason(body)}")
        return _json(body, self.url(path))

    def read(self, path: str, timeout: float = 5) -> tuple[int, bytes]:
        """Status and body of the answer. Raises `InstallError` when there is none."""
        return self._ask("GET", path, None, timeout)

    def find(self, path: str) -> bytes | None:
        """The object there; None when there is none. Raises `InstallError` for any other answer."""
        status, body = self.read(path)
        if status not in (200, 404):
            raise InstallError(f"{self.url(path)} answered {status}: {_reason(body)}")
        return body if status == 200 else None

    def change(self, method: str, path: str, body: Any) -> bool:
        """Send a change; False when what it is about is not there. Raises `InstallError` for any other refusal."""
        status, answer = self._ask(method, path, body, 10)
        if status >= 400 and status != 404:
            raise InstallError(f"{method} {self.url(path)} was refused with {status}: {_reason(answer)}")
        return status != 404

    def _ask(self, method: str, path: str, body: Any, timeout: float) -> tuple[int, bytes]:
        connection = self._connection(timeout)
        try:
            kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {} if body is None else {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read(MAX_ANSWER)
        except (OSError, http.client.HTTPException) as problem:
            raise InstallError(f"{self.url(path)} gave no answer: {problem}") from problem
        finally:
            connection.close()

    def url(self, path: str) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}{path}"

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=self.tls)


def api_server(admin: Path) -> Server:
    """The API server of an administrator's kubeconfig. Raises `InstallError` when that cannot be used."""
    try:
        access = kubeconfig(admin)
    except ConfigError as problem:
        raise InstallError(f"{problem}; `octoedge up` writes it anew.") from problem
    url = urllib.parse.urlsplit(access.server)
    return Server(url.hostname or "127.0.0.1", url.port or 443, access.tls)


def is_ready(admin: Path) -> bool:
    """Whether the API server takes requests of its administrator."""
    if not admin.exists():
        return False
    try:
        return api_server(admin).read("/readyz", 2)[0] == 200
    except InstallError:
        return False


def join_token(admin: Path) -> str:
    """The token that CloudCore keeps for nodes that join. Raises `InstallError`."""
    secret = api_server(admin).get("/api/v1/namespaces/kubeedge/secrets/tokensecret")
    try:
        return base64.b64decode(secret["data"]["tokendata"], validate=True).decode()
    except (KeyError, TypeError, UnicodeDecodeError, binascii.Error) as problem:
        raise InstallError("Secret kubeedge/tokensecret holds no token; restart CloudCore, which makes it") from problem


@dataclass(frozen=True, slots=True)
class NodeState:
    """What the API says about a node's Ready condition."""

    ready: bool
    version: str
    why: str
    pressure: tuple[str, ...] = ()
    """What it runs out of, as `DiskPressure`: new pods stay away meanwhile."""


def node_state(admin: Path, name: str) -> NodeState:
    """How the cloud sees the node. Raises `InstallError` when it does not know it."""
    return node_condition(api_server(admin).get(f"/api/v1/nodes/{name}"))


def node_condition(node: dict[str, Any]) -> NodeState:
    """The Ready condition of a Node object."""
    status = node.get("status", {})
    version = status.get("nodeInfo", {}).get("kubeletVersion", "")
    known = {str(one.get("type")): one.get("status") for one in status.get("conditions", [])}
    pressure = tuple(name for name, value in known.items() if name.endswith("Pressure") and value == "True")
    for condition in status.get("conditions", []):
        if condition.get("type") == "Ready":
            why = f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")
            return NodeState(condition.get("status") == "True", version, why, pressure)
    return NodeState(ready=False, version=version, why="it has not reported yet")


@dataclass(frozen=True, slots=True)
class CloudHealth:
    """What CloudCore says about itself."""

    ok: bool
    nodes: tuple[str, ...]
    detail: str


def cloud_health(port: int) -> CloudHealth:
    """CloudCore's own word. Raises `InstallError` when it gives none."""
    server = Server("127.0.0.1", port)
    _, body = server.read("/healthz", 3)
    answer = _json(body, server.url("/healthz"))
    if not isinstance(answer, dict):
        raise InstallError(f"{server.url('/healthz')} does not answer as CloudCore does: {body[:80]!r}")
    nodes = tuple(node if isinstance(node, str) else str(node.get("name", node)) for node in answer.get("nodes", []))
    return CloudHealth(bool(answer.get("ok")), nodes, str(answer.get("detail") or answer.get("reason") or ""))


def _json(body: bytes, url: str) -> Any:
    try:
        return json.loads(body)
    except ValueError as problem:
        raise InstallError(f"{url} does not answer in JSON: {body[:80]!r}") from problem


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace").strip()
