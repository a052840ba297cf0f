"""A thousand nodes behind real sockets: TLS, WebSocket and messages are real, what an edge would do with them is not.

One API server, one CloudCore, and nodes in this process that acknowledge what they get and report a status when they
connect. What is measured is CloudCore: its memory for each of them, one object for all, and its return after kill -9.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import yaml

from octoedge.commands.bench.plane import Plane, plane
from octoedge.commands.bench.process import cpu_seconds, memory
from octoedge.commands.bench.report import Samples
from octoedge.commands.bench.world import DEADLINE, GRACE, PORT_OFFSET
from octoedge.errors import DeadlineError, OctoedgeError
from octoedge.kube.client import Client
from octoedge.kube.kinds import CONFIGMAPS, NODES, OBJECTSYNCS, PODS, SECRETS
from octoedge.pki import x509
from octoedge.protocol import application, codec, handshake, routes
from octoedge.protocol import payloads as p
from octoedge.protocol.message import Message
from octoedge.protocol.resource import Resource
from octoedge.transport.connection import Connection
from octoedge.transport.websocket import Endpoint, connect, small_tls_buffers

Json = dict[str, Any]
SIZE = 1000
CHANGES, STREAM = 5, 40
HUB, CERTIFICATES = 10_020 + PORT_OFFSET, 10_022 + PORT_OFFSET
PROJECT = "e632aba927ea4ac2b575ec1603d56f10"
RETRY_SECONDS = (0.1, 0.5)
SETTLE = 3.0
GIVEN_BACK = 25.0
"""Seconds until CloudCore has given back what only the connecting took (`runtime.memory`)."""
KEEPALIVE_SECONDS = 15.0
_SHARED = "default/configmap/shared"


async def fleet() -> Samples:
    """All figures; the nodes connect once and stay."""
    small_tls_buffers()
    async with plane() as api, Client(api.access) as client:
        await register(client, SIZE)
        cloud = CloudProcess(api)
        try:
            await asyncio.to_thread(cloud.start)
            nodes = await asyncio.to_thread(make_nodes, await authority(client), api.folder, SIZE)
            await asyncio.sleep(SETTLE)
            before = memory(cloud.pid).rss
            async with connected(nodes):
                await asyncio.sleep(GIVEN_BACK)
                samples: Samples = {"fleet_node_memory": [(memory(cloud.pid).rss - before) * 1024 / SIZE]}
                samples |= await _one_object(client, cloud, nodes)
                samples |= await _storm(client, cloud, nodes)
            return samples
        finally:
            cloud.stop()


class CloudProcess:
    """CloudCore as a process."""

    def __init__(self, api: Plane) -> None:
        self._folder = api.folder.with_name("cloudcore")
        self._folder.mkdir()
        self._config = self._folder / "cloudcore.yaml"
        self._config.write_text(_config(api.folder / "cloudcore.kubeconfig", self._folder))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process's id."""
        if self._process is None or self._process.poll() is not None:
            log = (self._folder / "log").read_text(errors="replace")
            raise DeadlineError(f"CloudCore is not running; its log ends with:\n{log[-2000:]}")
        return self._process.pid

    def reach(self, access: Path) -> None:
        """From its next start on use another kubeconfig."""
        self._config.write_text(_config(access, self._folder))

    def start(self) -> None:
        """Start it; returns at once."""
        command = [sys.executable, "-m", "octoedge.commands.cloudcore", "--config", str(self._config)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        """kill -9."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(GRACE)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
        self.kill()


class SimulatedNode:
    """Keeps a connection, acknowledges, reports that it is Ready each time it connects."""

    def __init__(self, name: str, endpoint: Endpoint) -> None:
        self.name = name
        self.endpoint = endpoint
        self.sessions = 0
        """Connections on which the cloud has answered the report."""
        self.held: dict[str, str] = {}
        """The newest version acknowledged, by path."""
        self.carried = 0
        """Messages, both ways."""
        self.changed = asyncio.Event()
        self._ids = itertools.count()
        self._connection: Connection | None = None
        self._asked: dict[str, asyncio.Future[bytes]] = {}

    async def live(self) -> None:
        """Connect again and again until cancelled."""
        while True:
            with contextlib.suppress(OctoedgeError):
                self._connection = connection = await connect(self.endpoint)
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._report(connection), name=f"{self.name} reports")
                        await self._receive(connection)
                except* OctoedgeError:
                    pass
                finally:
                    await connection.close()
            await asyncio.sleep(random.uniform(*RETRY_SECONDS))  # noqa: S311 (nothing is secret here)

    async def _report(self, connection: Connection) -> None:
        condition = {"type": "Ready", "status": "True", "reason": "EdgeReady", "message": f"connected {time.time_ns()}"}
        body = msgspec.json.encode({"status": {"conditions": [condition]}})
        patch = p.NodeStatusPatch(resource=Resource("default", "nodepatch", self.name), body=body)
        await self._send(connection, self._said(patch))
        while True:
            await self._send(connection, self._said(p.Keepalive(body=b'"ping"')))
            await asyncio.sleep(KEEPALIVE_SECONDS)

    async def ask(self, verb: str, key: str, option: Json) -> Json:
        """What a MetaServer asks the cloud: the body of the answer."""
        assert self._connection is not None
        asked = application.make(self.name, key, verb, option=msgspec.json.encode(option))
        message = self._said(p.ApplicationRequest(body=application.encode(asked)))
        answer = self._asked[message.header.msg_id] = asyncio.get_running_loop().create_future()
        await self._send(self._connection, message)
        async with asyncio.timeout(DEADLINE):
            said = application.decode(await answer)
        return dict(msgspec.json.decode(application.outcome(said)))

    def compared(self) -> set[str]:
        """The versions that the cloud remembers of it: of all that it holds but its own Node."""
        return {version for path, version in self.held.items() if path != f"null/node/{self.name}"}

    async def _send(self, connection: Connection, message: Message) -> None:
        await connection.send(codec.encode(message))
        self.carried += 1

    def _said(self, payload: p.Payload) -> Message:
        return routes.compose(payload, message_id=self._id(), timestamp=int(time.time() * 1000))

    def _id(self) -> str:
        return f"{self.name}-{next(self._ids)}"

    async def _receive(self, connection: Connection) -> None:
        while True:
            message = codec.decode(await connection.receive())
            payload = routes.classify(routes.Direction.DOWN, message)
            self.carried += 1
            waiting = self._asked.pop(message.header.parent_msg_id, None)
            if waiting is not None:
                waiting.set_result(payload.body)
            elif isinstance(payload, p.Answer):
                self.sessions += 1
            else:
                answer = routes.acknowledge(message, message_id=self._id(), timestamp=int(time.time() * 1000))
                await self._send(connection, answer)
                self.held[str(payload.resource)] = message.header.resourceversion
            self.changed.set()


@asynccontextmanager
async def connected(nodes: list[SimulatedNode]) -> AsyncIterator[None]:
    """They live; each has been answered once."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(node.live(), name=node.name) for node in nodes]
        try:
            await until_all(nodes, lambda node: node.sessions > 0)
            yield
        finally:
            for task in tasks:
                task.cancel()


async def until_all(nodes: list[SimulatedNode], holds: Any) -> None:
    """Wait until something is so at every node."""
    try:
        async with asyncio.timeout(DEADLINE):
            for node in nodes:
                while not holds(node):
                    node.changed.clear()
                    await node.changed.wait()
    except TimeoutError as error:
        count = sum(1 for node in nodes if holds(node))
        raise DeadlineError(f"{count} of {len(nodes)} nodes were as wanted after {DEADLINE:.0f} s") from error


async def share_object(client: Client, nodes: list[SimulatedNode]) -> None:
    """A ConfigMap, and for every node a pod that has it; returns when all hold it and the API says so."""
    about = {"name": "shared", "namespace": "default"}
    configmap = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": about, "data": {"t": "0"}}
    await client.create(CONFIGMAPS, "default", msgspec.json.encode(configmap))
    await _together([client.create(PODS, "default", _pod(node.name)) for node in nodes])
    await until_all(nodes, lambda node: _SHARED in node.held)
    await _until_written(client, nodes)


async def _one_object(client: Client, cloud: CloudProcess, nodes: list[SimulatedNode]) -> Samples:
    """That ConfigMap changed, until the last node has acknowledged it; and many changes, one after the other.

    What CloudCore writes into the API for the stream comes later and belongs to it; what came before it does not.
    """
    await share_object(client, nodes)
    times = [await _change(client, nodes, number) for number in range(CHANGES)]
    await _until_written(client, nodes)
    busy, carried = cpu_seconds(cloud.pid), sum(node.carried for node in nodes)
    for number in range(STREAM):
        await _change(client, nodes, CHANGES + number)
    await _until_written(client, nodes)
    messages = sum(node.carried for node in nodes) - carried
    return {"fleet_one_object": times, "fleet_messages": [messages / (cpu_seconds(cloud.pid) - busy)]}


async def _change(client: Client, nodes: list[SimulatedNode], number: int) -> float:
    """Seconds from the change until every node has acknowledged it."""
    began = time.monotonic()
    patch = msgspec.json.encode({"data": {"t": f"change {number}"}})
    stored = msgspec.json.decode(await client.patch(CONFIGMAPS, "default", "shared", patch))
    version = stored["metadata"]["resourceVersion"]
    await until_all(nodes, lambda node: node.held[_SHARED] == version)
    return time.monotonic() - began


async def _until_written(client: Client, nodes: list[SimulatedNode]) -> None:
    """Return when the API says of every node what it has: CloudCore writes that some seconds later."""
    async with asyncio.timeout(DEADLINE):
        while True:
            await asyncio.sleep(1)
            written: dict[str, set[str]] = {}
            for item in (await client.list(OBJECTSYNCS)).items:
                sync = msgspec.json.decode(item)
                node = sync["metadata"]["name"].rpartition(".")[0]
                written.setdefault(node, set()).add(sync.get("status", {}).get("objectResourceVersion", ""))
            if all(node.compared() <= written.get(node.name, set()) for node in nodes):
                return


async def _storm(client: Client, cloud: CloudProcess, nodes: list[SimulatedNode]) -> Samples:
    """kill -9, start, until every node has reported that it is Ready and was answered."""
    before = {node.name: node.sessions for node in nodes}
    version = int((await client.list(CONFIGMAPS, "default")).version)
    cloud.kill()
    began = time.monotonic()
    await asyncio.to_thread(cloud.start)
    await until_all(nodes, lambda node: node.sessions > before[node.name])
    took = time.monotonic() - began
    await asyncio.sleep(SETTLE)
    written = int((await client.list(CONFIGMAPS, "default")).version) - version
    return {"fleet_storm": [took], "fleet_storm_writes": [written / SIZE]}


async def register(client: Client, size: int) -> None:
    """So many Nodes that were Ready once."""
    ready = {"type": "Ready", "status": "True"}
    edge = {"node-role.kubernetes.io/edge": ""}
    head = {"kind": "Node", "apiVersion": "v1", "status": {"conditions": [ready]}}
    nodes = [{**head, "metadata": {"name": _name(number), "labels": edge}} for number in range(size)]
    await _together([client.create(NODES, "", msgspec.json.encode(node)) for node in nodes])


async def _together(requests: list[Any]) -> None:
    for at in range(0, len(requests), 50):
        await asyncio.gather(*requests[at : at + 50])


async def authority(client: Client) -> x509.Pair:
    """CloudCore's CA, once it has made it."""
    async with asyncio.timeout(DEADLINE):
        while True:
            with contextlib.suppress(OctoedgeError):
                data = msgspec.json.decode(await client.get(SECRETS, "kubeedge", "casecret"))["data"]
                return x509.Pair(base64.b64decode(data["cadata"]), base64.b64decode(data["cakeydata"]))
            await asyncio.sleep(0.1)


def make_nodes(ca: x509.Pair, folder: Path, size: int) -> list[SimulatedNode]:
    """Nodes with certificates."""
    pki = folder.with_name("nodes")
    pki.mkdir()
    (pki / "ca.crt").write_bytes(x509.certificate_to_pem(ca.certificate))
    return [_node(ca, pki, _name(number)) for number in range(size)]


def _node(ca: x509.Pair, pki: Path, name: str) -> SimulatedNode:
    key, request = x509.new_node_request(name)
    certificate = x509.sign_node(ca, request, name, days=1, now=time.time())
    (pki / f"{name}.key").write_bytes(key)
    (pki / f"{name}.crt").write_bytes(x509.certificate_to_pem(certificate))
    endpoint = Endpoint(
        url=f"wss://127.0.0.1:{HUB}/{PROJECT}/{name}/events",
        ca_file=pki / "ca.crt",
        certificate_file=pki / f"{name}.crt",
        key_file=pki / f"{name}.key",
        headers={
            handshake.NODE: name,
            handshake.PROJECT: PROJECT,
            handshake.USE: handshake.USE_MESSAGES,
            handshake.STORE: f"store-{name}",
            handshake.FEATURES: handshake.LEASES,  # else the API takes them for dead, and says so, while it is measured
        },
    )
    return SimulatedNode(name, endpoint)


def _name(number: int) -> str:
    return f"node-{number:04}"


def _pod(node: str) -> bytes:
    container = {"name": "main", "image": "octoedge.local/hello:1"}
    volume = {"name": "shared", "configMap": {"name": "shared"}}
    spec = {"nodeName": node, "containers": [container], "volumes": [volume], "automountServiceAccountToken": False}
    about = {"name": f"on-{node}", "namespace": "default"}
    return msgspec.json.encode({"kind": "Pod", "apiVersion": "v1", "metadata": about, "spec": spec})


def _config(kubeconfig: Path, folder: Path) -> str:
    files = {"tlsCAFile": "rootCA.crt", "tlsCAKeyFile": "rootCA.key"}
    files |= {"tlsCertFile": "server.crt", "tlsPrivateKeyFile": "server.key"}
    hub = {
        "enable": True,
        "nodeLimit": SIZE,
        "advertiseAddress": ["127.0.0.1"],
        "websocket": {"enable": True, "address": "127.0.0.1", "port": HUB},
        "https": {"enable": True, "address": "127.0.0.1", "port": CERTIFICATES},
        "unixsocket": {"enable": False, "address": f"unix://{folder}/hub.sock"},
        "authorization": {"enable": True, "debug": False, "modes": [{"node": {"enable": True}}]},
        **{key: str(folder / name) for key, name in files.items()},
    }
    document = {
        "apiVersion": "cloudcore.config.kubeedge.io/v1alpha1",
        "kind": "CloudCore",
        "commonConfig": {"monitorServer": {"bindAddress": f"127.0.0.1:{9091 + PORT_OFFSET + 20}"}},
        "kubeAPIConfig": {"kubeConfig": str(kubeconfig)},
        "modules": {
            "cloudHub": hub,
            "cloudStream": {"enable": False},
            "iptablesManager": {"enable": False},
            "dynamicController": {"enable": True},
        },
    }
    return yaml.safe_dump(document)
