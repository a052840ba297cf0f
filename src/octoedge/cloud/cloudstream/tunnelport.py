"""KubeEdge's way for an API server to reach a node, for mixed fleets: every CloudCore has a port number of its own.

    ConfigMap kubeedge/tunnelport   who has which port (one annotation, shared with Go CloudCores)
    Node  status…kubeletEndpoint    the port of the CloudCore that the node's tunnel leads to
    NAT   TUNNEL-PORT               that port, whatever the address → that CloudCore's 10003   (`iptables`)

Nothing listens on the port. `Record` decides, without I/O; `TunnelPorts` keeps ConfigMap, Nodes and rules so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from octoedge.errors import ApiError, InstallError, MessageError, OctoedgeError, TransportError
from octoedge.kube.client import Client
from octoedge.kube.kinds import CONFIGMAPS, NAMESPACES, NODES
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.keyed import KeyedQueue
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

NAMESPACE = "kubeedge"
CONFIGMAP = "tunnelport"
ANNOTATION = "tunnelportrecord.kubeedge.io"

_FIRST = 10351
_LAST = 65535
_LOOK_SECONDS = 10.0
_SUBJECT = "tunnel port"


class Record(msgspec.Struct, frozen=True, rename="camel"):
    """The annotation's content, as KubeEdge writes it."""

    ip_tunnel_port: dict[str, int] = {}
    """IP of a CloudCore → its port."""
    port: dict[str, bool] = {}
    """Ports that are taken; never freed."""

    @classmethod
    def parse(cls, text: str) -> Record:
        """The record in the annotation; `MessageError` when it is none."""
        try:
            return msgspec.json.decode(text, type=cls) if text else cls()
        except (msgspec.DecodeError, RecursionError) as error:
            raise MessageError(f"annotation {ANNOTATION} of ConfigMap {NAMESPACE}/{CONFIGMAP}: {error}") from error

    def claim(self, ip: str) -> tuple[int, Record]:
        """The port of the CloudCore at `ip`, a new one if it has none, and the record with it."""
        known = self.ip_tunnel_port.get(ip)
        if known is not None:
            return known, self
        taken = {*self.port, *map(str, self.ip_tunnel_port.values())}
        port = next((port for port in range(_FIRST, _LAST + 1) if str(port) not in taken), 0)
        if not port:
            raise MessageError(f"ConfigMap {NAMESPACE}/{CONFIGMAP} has no port left")
        return port, Record({**self.ip_tunnel_port, ip: port}, {**self.port, str(port): True})

    def text(self) -> str:
        """The annotation."""
        return msgspec.json.encode({"ipTunnelPort": self.ip_tunnel_port, "port": self.port}).decode()


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    annotations: dict[str, str] | None = None


class _ConfigMap(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()


class _Endpoint(msgspec.Struct, frozen=True):
    Port: int = 0


class _Endpoints(msgspec.Struct, frozen=True, rename="camel"):
    kubelet_endpoint: _Endpoint = _Endpoint()


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    daemon_endpoints: _Endpoints = _Endpoints()


class _Node(msgspec.Struct, frozen=True):
    status: _Status = _Status()


Reconcile = Callable[[dict[str, int]], Awaitable[None]]
"""Makes NAT rules for IP → port; `InstallError` when that cannot be done."""


class TunnelPorts:
    """Module: has a port, writes it into the nodes whose tunnel opens here, and keeps the rules."""

    name = "iptablesManager"
    needs: tuple[str, ...] = ()
    restart = True

    def __init__(self, client: Client, ip: str, reconcile: Reconcile | None) -> None:
        """`ip` is where API servers' machines reach this CloudCore; without `reconcile` somebody else makes rules."""
        self._client = client
        self._ip = ip
        self._reconcile = reconcile
        self._said = SaidOnce(log)
        self._opened: KeyedQueue[str] = KeyedQueue(self._announce, workers=4, name="tunnel port of")
        self.port = 0
        """This CloudCore's; 0 until it has one."""

    def opened(self, node: str) -> None:
        """The tunnel of `node` leads here now."""
        self._opened.add(node)

    async def run(self, ready: Callable[[], None]) -> None:
        """Keep everything so until cancelled; others do not wait for it."""
        ready()
        backoff = Backoff(first=0.5, limit=_LOOK_SECONDS)
        while not self.port:
            try:
                self.port = await self._claim()
            except OctoedgeError as error:
                self._said.trouble(_SUBJECT, f"{error}; trying again")
                await asyncio.sleep(backoff.next())
        log.info("API servers reach nodes of this CloudCore at port %d (KubeEdge's way)", self.port)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._opened.run(), name="ports of nodes")
            while True:
                await self._look()
                await asyncio.sleep(_LOOK_SECONDS)

    async def _claim(self) -> int:
        """A conflict with another CloudCore raises `ApiError`: whoever calls tries again."""
        try:
            raw = await self._client.get(CONFIGMAPS, NAMESPACE, CONFIGMAP)
        except ApiError as error:
            if error.code != 404:
                raise
            return await self._create()
        port, record = _record(raw).claim(self._ip)
        whole: dict[str, Any] = msgspec.json.decode(raw)
        annotations = whole["metadata"].get("annotations") or {}
        if annotations.get(ANNOTATION) != record.text():
            whole["metadata"]["annotations"] = {**annotations, ANNOTATION: record.text()}
            await self._client.update(CONFIGMAPS, NAMESPACE, CONFIGMAP, msgspec.json.encode(whole))
        return port

    async def _create(self) -> int:
        port, record = Record().claim(self._ip)
        metadata = {"name": CONFIGMAP, "namespace": NAMESPACE, "annotations": {ANNOTATION: record.text()}}
        body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata}
        namespace = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": NAMESPACE}}
        try:
            await self._client.create(NAMESPACES, "", msgspec.json.encode(namespace))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        await self._client.create(CONFIGMAPS, NAMESPACE, msgspec.json.encode(body))
        return port

    async def _look(self) -> None:
        """Bring the rules to what the ConfigMap says now."""
        if self._reconcile is None:
            return
        try:
            record = _record(await self._client.get(CONFIGMAPS, NAMESPACE, CONFIGMAP))
            await self._reconcile(record.ip_tunnel_port)
        except (ApiError, TransportError, MessageError, InstallError) as error:
            self._said.trouble(_SUBJECT, str(error))
            return
        self._said.over(_SUBJECT, "the NAT rules are as they should be")

    async def _announce(self, node: str) -> None:
        """Write the port into the Node."""
        try:
            live = msgspec.json.decode(await self._client.get(NODES, "", node), type=_Node)
            if live.status.daemon_endpoints.kubelet_endpoint.Port == self.port:
                return
            patch = {"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}}}}
            await self._client.patch(NODES, "", node, msgspec.json.encode(patch), sub="status")
        except (ApiError, TransportError, msgspec.DecodeError) as error:
            # A node that is just joining is not there yet.
            log.debug("= the tunnel port is not in node %s yet: %s", node, error)
            self._opened.add_later(node, _LOOK_SECONDS)


def _record(config_map: bytes) -> Record:
    try:
        found = msgspec.json.decode(config_map, type=_ConfigMap)
    except msgspec.DecodeError as error:
        raise MessageError(f"ConfigMap {NAMESPACE}/{CONFIGMAP} cannot be read: {error}") from error
    return Record.parse((found.metadata.annotations or {}).get(ANNOTATION, ""))
