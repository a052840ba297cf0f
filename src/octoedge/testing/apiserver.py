"""The real API server process with an edge that pretends: what real clients are let loose on.

`ApiServerProcess` starts `octoedge apiserver` on a free port and has its kubeconfig. `PretendEdge` is a thread that
does to the API what an edge does, over the same HTTPS port: its node is Ready, Pods on it become Running and Ready, and
go when they are deleted. What a Pod's container does is read from its command: `["false"]` fails, `["true"]` succeeds,
`["never-ready"]` runs without becoming Ready, everything else runs on.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octoedge.runtime.clock import SystemClock, rfc3339
from octoedge.testing.eventually import eventually

Json = dict[str, Any]

STRATEGIC = "application/strategic-merge-patch+json"
AN_AGE = "86400"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered."""

    code: int
    body: Any
    headers: Any


class ApiServerProcess:
    """One API server on a port of its own."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "admin.kubeconfig"

    def start(self) -> None:
        """Start, and wait until it serves."""
        command = [sys.executable, "-m", "octoedge.commands.apiserver", "--data-dir", str(self.folder)]
        command += ["--listen", f"127.0.0.1:{self.port}", "--node-monitor-grace-period", AN_AGE]
        self._process = subprocess.Popen([*command, "--log-level", "warning"])
        eventually(self._ready, within=20)

    def _ready(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError("the API server ended; its words stand above")
        return self.ask("GET", "/readyz").code == 200

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it and wait; its exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(15)

    def connection(self, timeout: float = 30) -> http.client.HTTPSConnection:
        """An open connection of the administrator."""
        tls = ssl.create_default_context(cafile=str(self.folder / "pki/ca.crt"))
        tls.load_cert_chain(self.folder / "pki/admin.crt", self.folder / "pki/admin.key")
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=tls, timeout=timeout)

    def send(self, method: str, path: str, body: bytes | None, media_type: str = "application/json") -> Answer:
        """One request with any body; the answer's body is decoded when it is JSON."""
        with contextlib.closing(self.connection()) as connection:
            connection.request(method, path, body, {"Content-Type": media_type})
            response = connection.getresponse()
            text = response.read()
            is_json = response.headers.get_content_type() == "application/json"
            return Answer(response.status, json.loads(text) if is_json else text, response.headers)

    def ask(self, method: str, path: str, obj: Any = None, media_type: str = "application/json") -> Answer:
        """One request with a JSON body."""
        return self.send(method, path, None if obj is None else json.dumps(obj).encode(), media_type)


class PretendEdge:
    """A node and its Pods, kept by a thread until the server ends."""

    def __init__(self, server: ApiServerProcess, node: str = "edge-1") -> None:
        self.server = server
        self.node = node
        self._thread = threading.Thread(target=self._live, name=f"pretend {node}", daemon=True)

    def start(self) -> None:
        """Register the node, and care for its Pods from now on."""
        self.server.ask("POST", "/api/v1/nodes", a_node(self.node))
        self._thread.start()

    def join(self) -> None:
        """Wait for the end; the server must have been stopped."""
        self._thread.join(10)

    def _live(self) -> None:
        path = f"/api/v1/pods?watch=true&resourceVersion=0&fieldSelector=spec.nodeName%3D{self.node}"
        ends = contextlib.suppress(OSError, http.client.HTTPException, ValueError)
        with ends, contextlib.closing(self.server.connection(timeout=3600)) as connection:
            connection.request("GET", path)
            with connection.getresponse() as response:
                while line := response.readline():
                    self._tend(json.loads(line))

    def _tend(self, event: Json) -> None:
        pod = event["object"]
        if event["type"] not in ("ADDED", "MODIFIED"):
            return
        about = pod["metadata"]
        path = f"/api/v1/namespaces/{about['namespace']}/pods/{about['name']}"
        if about.get("deletionTimestamp"):
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": about["uid"]}}
            self.server.ask("DELETE", path, options)
        elif pod["status"].get("phase") == "Pending":
            status = report(pod, rfc3339(SystemClock().now()))
            self.server.ask("PATCH", f"{path}/status", {"metadata": {"uid": about["uid"]}, "status": status}, STRATEGIC)


def report(pod: Json, now: str) -> Json:
    """The status of a Pod that has just begun, and perhaps ended."""
    command = (pod["spec"]["containers"][0].get("command") or [""])[0]
    phase = {"true": "Succeeded", "false": "Failed"}.get(command, "Running")
    running = phase == "Running"
    ready = running and command != "never-ready"
    ended = {"exitCode": int(phase == "Failed"), "reason": "Completed", "startedAt": now, "finishedAt": now}
    state: Json = {"running": {"startedAt": now}} if running else {"terminated": ended}
    statuses = [
        {
            "name": one["name"],
            "image": one["image"],
            "imageID": f"sha256:{one['image']}",
            "containerID": f"containerd://{pod['metadata']['uid']}-{one['name']}",
            "ready": ready,
            "started": running,
            "restartCount": 0,
            "state": state,
        }
        for one in pod["spec"]["containers"]
    ]
    conditions = [
        {"type": kind, "status": str(value), "lastTransitionTime": now}
        for kind, value in (("Initialized", True), ("ContainersReady", ready), ("Ready", ready))
    ]
    return {
        "phase": phase,
        "conditions": conditions,
        "containerStatuses": statuses,
        "hostIP": "127.0.0.1",
        "podIP": "10.9.0.7",
        "podIPs": [{"ip": "10.9.0.7"}],
        "startTime": now,
    }


def a_node(name: str) -> Json:
    """A Ready Node with room."""
    room = {"cpu": "8", "memory": "16Gi", "pods": "500"}
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "capacity": room,
            "allocatable": room,
            "conditions": [{"type": "Ready", "status": "True", "reason": "EdgeReady"}],
            "nodeInfo": {"kubeletVersion": "v1.32.0", "containerRuntimeVersion": "containerd://1.6.20"},
        },
    }


@contextlib.contextmanager
def serving(folder: Path, nodes: tuple[str, ...] = ("edge-1",)) -> Iterator[ApiServerProcess]:
    """A server with nodes, until the end of the block."""
    server = ApiServerProcess(folder)
    server.start()
    edges = [PretendEdge(server, node) for node in nodes]
    try:
        for edge in edges:
            edge.start()
        yield server
    finally:
        server.stop()
        for edge in edges:
            edge.join()


def free_port() -> int:
    """A port that nobody uses now, below those that the kernel gives to who asks for any: it stays free meanwhile."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_768)
        with socket.socket() as found, contextlib.suppress(OSError):
            found.bind(("", port))
            return port
