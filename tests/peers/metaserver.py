"""The Kubernetes API of a node in a cell: asked there, of EdgeCore of either make, through CloudCore of either make.

Applications go up, answers and watched changes come down; what was read is answered without the cloud too.
"""

from __future__ import annotations

import json
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from octoedge.keadm import namespace
from octoedge.testing.eventually import eventually
from octoedge.testing.peers.cell import NODE, Cell

SERVICES = "/api/v1/namespaces/default/services"
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: seen}
spec: {ports: [{port: 80}]}
"""
PATIENCE = 60.0
"""Behind KubeEdge's cloud our edge lists every 15 s what is watched."""


def tell(cell: Cell) -> None:
    """Discovery, get, list, watch, a write; then get and list without the cloud."""
    eventually(lambda: "v1" in ask(cell, "/api")["versions"], within=PATIENCE)
    assert ask(cell, f"{SERVICES}/kubernetes")["metadata"]["name"] == "kubernetes"
    with watching(cell) as heard:
        eventually(lambda: ("ADDED", "kubernetes") in heard, within=PATIENCE)
        cell.apply(SERVICE)
        eventually(lambda: ("ADDED", "seen") in heard, within=PATIENCE)
        assert "seen" in names(cell)
        cell.kubectl("delete", "service", "seen")
        eventually(lambda: ("DELETED", "seen") in heard, within=PATIENCE)
    assert written(cell, "said")
    assert "kubernetes" in names(cell)
    cell.edge.cut()
    try:
        eventually(lambda: "kubernetes" in names(cell), within=PATIENCE)
        assert ask(cell, f"{SERVICES}/kubernetes")["metadata"]["name"] == "kubernetes"
    finally:
        cell.edge.mend()
    eventually(lambda: written(cell, "said again"), within=PATIENCE)


def written(cell: Cell, word: str) -> bool:
    """Whether the node can note a word at its Node, and it is there."""
    ask(cell, f"/api/v1/nodes/{NODE}", {"metadata": {"annotations": {"octoedge.test/word": word}}})
    said: str = cell.get("node", NODE)["metadata"]["annotations"]["octoedge.test/word"]
    return said == word


def names(cell: Cell) -> set[str]:
    return {one["metadata"]["name"] for one in ask(cell, SERVICES)["items"]}


def ask(cell: Cell, path: str, patch: Any = None) -> Any:
    """One request on the node; with `patch` a merge patch."""
    with _open(cell, path, patch, 30) as answer:
        return json.load(answer)


@contextmanager
def watching(cell: Cell) -> Iterator[list[tuple[str, str]]]:
    """(type, name) of what a watch of Services brings."""
    heard: list[tuple[str, str]] = []
    answer = _open(cell, f"{SERVICES}?watch=true&timeoutSeconds=300", None, 300)

    def listen() -> None:
        try:
            for line in answer:
                event = json.loads(line)
                heard.append((event["type"], event["object"]["metadata"].get("name", "")))
        except (OSError, ValueError, AttributeError):
            return  # it was closed

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        answer.fp.raw._sock.shutdown(2)
        thread.join(5)


def _open(cell: Cell, path: str, patch: Any, seconds: float) -> Any:
    node = cell.edge.node
    data = None if patch is None else json.dumps(patch).encode()
    kind = {"Content-Type": "application/merge-patch+json"} if patch is not None else {}
    where = f"{'http' if cell.edge.go else 'https'}://127.0.0.1:{node.ports.metaserver}{path}"
    request = urllib.request.Request(where, data, kind, method="GET" if patch is None else "PATCH")
    tls = None
    if not cell.edge.go:
        tls = ssl.create_default_context(cafile=str(node.edge / "metaserver" / "ca.crt"))
        tls.load_cert_chain(node.edge / "pki" / "server.crt", node.edge / "pki" / "server.key")
    return namespace.inside(node, lambda: urllib.request.urlopen(request, timeout=seconds, context=tls))
