"""Answers of the API server and CloudCore are read, and wrong ones named."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from octoedge.errors import InstallError
from octoedge.keadm.cluster import CloudHealth, Server, cloud_health, node_condition


@contextmanager
def serving(status: int, body: bytes) -> Iterator[int]:
    """A server that answers everything so; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            """Silence."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_health_with_its_nodes() -> None:
    with serving(200, b'{"ok": true, "nodes": ["a", {"name": "b"}]}') as port:
        assert cloud_health(port) == CloudHealth(True, ("a", "b"), "")


def test_an_unwell_cloudcore_is_listened_to() -> None:
    with serving(503, b'{"ok": false, "nodes": [], "detail": "no API server"}') as port:
        assert cloud_health(port) == CloudHealth(False, (), "no API server")


@pytest.mark.parametrize("body", [b"[]", b"<html>", b"", b'"x"'])
def test_someone_else_on_the_port_is_noticed(body: bytes) -> None:
    with serving(200, body) as port, pytest.raises(InstallError, match="does not answer"):
        cloud_health(port)


def test_an_error_of_the_api_server_is_told_in_its_words() -> None:
    status = json.dumps({"kind": "Status", "message": 'nodes "edge-1" not found'}).encode()
    with serving(404, status) as port, pytest.raises(InstallError, match='404: nodes "edge-1" not found'):
        Server("127.0.0.1", port).get("/api/v1/nodes/edge-1")


def test_nobody_there_is_said() -> None:
    with serving(200, b"{}") as port:
        pass
    with pytest.raises(InstallError, match="gave no answer"):
        Server("127.0.0.1", port).get("/")


def node(**ready: str) -> dict[str, object]:
    conditions = [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", **ready}] if ready else []
    return {"status": {"conditions": conditions, "nodeInfo": {"kubeletVersion": "v1.32.0-octoedge"}}}


def test_a_ready_node() -> None:
    state = node_condition(node(status="True", reason="EdgeReady"))
    assert (state.ready, state.version) == (True, "v1.32.0-octoedge")


def test_a_node_that_is_not_ready_says_why() -> None:
    state = node_condition(node(status="False", reason="RuntimeNotReady", message="no CNI"))
    assert (state.ready, state.why) == (False, "RuntimeNotReady: no CNI")


def test_a_node_that_never_reported() -> None:
    assert node_condition(node()).why == "it has not reported yet"


def test_what_a_ready_node_runs_out_of_is_told() -> None:
    pressures = [{"type": "MemoryPressure", "status": "False"}, {"type": "DiskPressure", "status": "True"}]
    state = node_condition({"status": {"conditions": [*pressures, {"type": "Ready", "status": "True"}]}})
    assert (state.ready, state.pressure) == (True, ("DiskPressure",))


def test_a_node_without_a_status_is_not_ready() -> None:
    assert not node_condition({}).ready
