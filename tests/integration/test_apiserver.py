"""The real API server process on a real port, driven with raw HTTP: restarts, kill -9, limits, bad input, tokens."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")

Json = dict[str, Any]
MERGE = {"Content-Type": "application/merge-patch+json"}
POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:v1"}]}}
PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"


class Server:
    """One API server process; `start`, `kill`, and requests as the administrator."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.arguments = arguments
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start and wait until it serves; how long that took."""
        command = [sys.executable, "-m", "octoedge.commands.apiserver", "--data-dir", str(self.folder)]
        begun = time.monotonic()
        self.process = subprocess.Popen([*command, "--listen", f"127.0.0.1:{self.port}", *self.arguments])
        while time.monotonic() < begun + 20:
            try:
                if self.anonymous("GET", "/readyz")[0] == 200:
                    return time.monotonic() - begun
            except OSError:
                pass
            assert self.process.poll() is None, "the server ended"
            time.sleep(0.02)
        raise AssertionError("the server did not become ready")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it and wait."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(15)

    def context(self, *, certificate: bool) -> ssl.SSLContext:
        """TLS as a client of this server."""
        context = ssl.create_default_context(cafile=str(self.folder / "pki/ca.crt"))
        if certificate:
            context.load_cert_chain(self.folder / "pki/admin.crt", self.folder / "pki/admin.key")
        return context

    def connection(self, *, certificate: bool = True, timeout: float = 15) -> http.client.HTTPSConnection:
        """An open connection."""
        context = self.context(certificate=certificate)
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=timeout)

    def raw(self, method: str, path: str, body: bytes | None, headers: Json, certificate: bool) -> tuple[int, bytes]:
        """One request; status and body."""
        connection = self.connection(certificate=certificate)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def ask(self, method: str, path: str, obj: Any = None, headers: Json | None = None) -> tuple[int, Json]:
        """One request of the administrator with JSON both ways."""
        body = None if obj is None else json.dumps(obj).encode()
        code, answer = self.raw(method, path, body, {"Content-Type": "application/json", **(headers or {})}, True)
        return code, json.loads(answer)

    def anonymous(self, method: str, path: str, headers: Json | None = None) -> tuple[int, bytes]:
        """One request without a client certificate."""
        return self.raw(method, path, None, headers or {}, False)

    def watch(self, path: str, version: str, seconds: int = 2) -> list[Json]:
        """All events of a watch until its time is over."""
        connection = self.connection()
        sign = "&" if "?" in path else "?"
        query = f"{sign}watch=true&resourceVersion={version}&timeoutSeconds={seconds}"
        try:
            connection.request("GET", path + query)
            response = connection.getresponse()
            assert response.status == 200, response.read()
            return [json.loads(line) for line in response.read().splitlines()]
        finally:
            connection.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that leave it alive."""
    times = ("--node-monitor-grace-period", "1.5", "--node-monitor-period", "0.2")
    server = Server(tmp_path_factory.mktemp("apiserver"), *times)
    server.start()
    yield server
    assert server.stop() == 0


def version_of(server: Server, path: str) -> str:
    """resourceVersion of a list."""
    return str(server.ask("GET", path)[1]["metadata"]["resourceVersion"])


def test_files_are_private(server: Server) -> None:
    for name in ("admin.kubeconfig", "cloudcore.kubeconfig", "pki/ca.key", "pki/sa.key", "state.db"):
        assert (server.folder / name).stat().st_mode & 0o077 == 0, name


def test_a_pod_lives_its_life(server: Server) -> None:
    code, pod = server.ask("POST", PODS, POD)
    assert code == 201
    assert pod["spec"]["serviceAccountName"] == "default"
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert pod["status"]["phase"] == "Pending"
    assert server.ask("POST", PODS, POD)[0] == 409
    node = {"metadata": {"name": "n1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    node["status"]["allocatable"] = {"cpu": "1", "memory": "1Gi", "pods": "10"}  # type: ignore[index]
    assert server.ask("POST", "/api/v1/nodes", node)[0] == 201
    pod = until(lambda: server.ask("GET", f"{PODS}/p")[1], lambda pod: pod["spec"].get("nodeName"))
    assert pod["spec"]["nodeName"] == "n1"
    assert {"type": "PodScheduled", "status": "True"}.items() <= pod["status"]["conditions"][0].items()
    code, gone = server.ask("DELETE", f"{PODS}/p")
    assert (code, gone["metadata"]["deletionGracePeriodSeconds"]) == (200, 30)
    wrong = {"gracePeriodSeconds": 0, "preconditions": {"uid": "another"}}
    assert server.ask("DELETE", f"{PODS}/p", wrong)[0] == 409
    right = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
    assert server.ask("DELETE", f"{PODS}/p", right)[0] == 200
    assert server.ask("GET", f"{PODS}/p")[0] == 404


def test_a_silent_node_is_unreachable_and_comes_back_and_its_pods_stay(server: Server) -> None:
    node = {"metadata": {"name": "quiet"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert server.ask("POST", "/api/v1/nodes", node)[0] == 201
    there = {**POD, "metadata": {"name": "stays"}, "spec": {**POD["spec"], "nodeName": "quiet"}}  # type: ignore[dict-item]
    assert server.ask("POST", PODS, there)[0] == 201
    found = until(
        lambda: server.ask("GET", "/api/v1/nodes/quiet")[1],
        lambda node: len(node["spec"].get("taints", [])) == 2 and ready(node) == "Unknown",
    )
    assert {taint["key"] for taint in found["spec"]["taints"]} == {"node.kubernetes.io/unreachable"}
    heartbeat = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:01Z"}
    again = {"status": {"conditions": [heartbeat]}}
    assert server.ask("PATCH", "/api/v1/nodes/quiet/status", again, MERGE)[0] == 200
    until(lambda: server.ask("GET", "/api/v1/nodes/quiet")[1], lambda node: not node["spec"].get("taints"))
    assert "deletionTimestamp" not in server.ask("GET", f"{PODS}/stays")[1]["metadata"]
    assert server.ask("DELETE", f"{PODS}/stays?gracePeriodSeconds=0")[0] == 200
    assert server.ask("DELETE", "/api/v1/nodes/quiet")[0] == 200


def test_updates_conflict_and_patches_do_not(server: Server) -> None:
    _, first = server.ask("POST", MAPS, {"metadata": {"name": "c"}, "data": {"a": "1"}})
    code, _ = server.ask("PUT", f"{MAPS}/c", {**first, "data": {"a": "2"}})
    assert code == 200
    code, refused = server.ask("PUT", f"{MAPS}/c", {**first, "data": {"a": "3"}})
    assert (code, refused["reason"]) == (409, "Conflict")
    assert "the object has been modified" in refused["message"]
    code, third = server.ask("PATCH", f"{MAPS}/c", {"data": {"b": "4", "a": None}}, MERGE)
    assert (code, third["data"]) == (200, {"b": "4"})
    code, same = server.ask("PATCH", f"{MAPS}/c", {"data": {"b": "4"}}, MERGE)
    assert same["metadata"]["resourceVersion"] == third["metadata"]["resourceVersion"]
    code, dry = server.ask("PATCH", f"{MAPS}/c?dryRun=All", {"data": {"b": "5"}}, MERGE)
    assert (dry["data"], dry["metadata"]["resourceVersion"]) == ({"b": "5"}, same["metadata"]["resourceVersion"])
    assert server.ask("GET", f"{MAPS}/c")[1]["data"] == {"b": "4"}


def test_lists_come_in_chunks_and_a_watch_follows(server: Server) -> None:
    for number in range(5):
        server.ask("POST", MAPS, {"metadata": {"name": f"chunk-{number}", "labels": {"chunk": "y"}}})
    page = server.ask("GET", f"{MAPS}?labelSelector=chunk&limit=2")[1]
    version, names = page["metadata"]["resourceVersion"], [item["metadata"]["name"] for item in page["items"]]
    assert page["metadata"]["remainingItemCount"] == 3
    server.ask("DELETE", f"{MAPS}/chunk-0")
    while token := page["metadata"].get("continue"):
        page = server.ask("GET", f"{MAPS}?labelSelector=chunk&limit=2&continue={token}")[1]
        assert page["metadata"]["resourceVersion"] == version
        names += [item["metadata"]["name"] for item in page["items"]]
    assert names == [f"chunk-{number}" for number in range(5)]
    events = server.watch(f"{MAPS}?labelSelector=chunk", version, 1)
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == [("DELETED", "chunk-0")]


def test_a_watch_sends_what_begins_and_ceases_to_match(server: Server) -> None:
    version = version_of(server, MAPS)
    server.ask("POST", MAPS, {"metadata": {"name": "sel"}})
    for labels in ({"x": "1"}, {"x": "1", "y": "2"}, {"x": None}):
        server.ask("PATCH", f"{MAPS}/sel", {"metadata": {"labels": labels}}, MERGE)
    server.ask("DELETE", f"{MAPS}/sel")
    events = server.watch(f"{MAPS}?labelSelector=x%3D1", version, 1)
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    streamed = server.watch(
        f"{MAPS}?sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", "", 1
    )
    ends = [event["object"]["metadata"].get("annotations") for event in streamed if event["type"] == "BOOKMARK"]
    assert ends[0] == {"k8s.io/initial-events-end": "true"}


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "reason", "text"),
    [
        ("POST", PODS, b"{", 400, "BadRequest", "json parse error"),
        ("POST", PODS, b"[1]", 400, "BadRequest", "not a JSON object"),
        ("POST", PODS, b'{"kind":"Node"}', 400, "BadRequest", "this path holds Pod"),
        ("POST", PODS, b"k8s\0\xff\xff\xff", 400, "BadRequest", "protobuf"),
        ("POST", PODS, b"[" * 100_000, 400, "BadRequest", "json parse error"),
        ("POST", PODS, b'{"metadata":{"name":5}}', 400, "BadRequest", "cannot unmarshal number into Go struct field"),
        ("POST", PODS, b'{"metadata":{"name":"x"}}', 422, "Invalid", "spec.containers: Required value"),
        ("POST", f"{PODS}?fieldValidation=Strict", b'{"spec":{"foo":1}}', 400, "BadRequest", 'unknown field "spec.fo'),
        ("POST", "/api/v1/namespaces/no/configmaps", b'{"metadata":{"name":"x"}}', 404, "NotFound", '"no" not found'),
        ("POST", "/api/v1/pods", b"{}", 405, "MethodNotAllowed", ""),
        ("GET", "/api/v1/namespaces/default/gizmos", None, 404, "NotFound", "could not find"),
        ("GET", "/apis/nope/v1/things/x", None, 404, "NotFound", "could not find"),
        ("GET", f"{PODS}?labelSelector=a%20b", None, 400, "BadRequest", "unable to parse requirement"),
        ("GET", f"{PODS}?fieldSelector=spec.secret%3D1", None, 400, "BadRequest", "field label not supported"),
        ("GET", f"{PODS}?limit=x", None, 400, "BadRequest", "whole number"),
        ("GET", f"{PODS}?continue=xyz", None, 400, "BadRequest", "continue key is not valid"),
        ("GET", f"{PODS}?watch=1&resourceVersion=99999999", None, 410, "Expired", "too large resource version"),
        ("PATCH", f"{PODS}/x", b"{}", 415, "UnsupportedMediaType", "accepted media types"),
        ("GET", "/openapi/v9", None, 404, "NotFound", ""),
        ("DELETE", "/api/v1/namespaces/kube-system", None, 403, "Forbidden", "may not be deleted"),
    ],
)
def test_bad_input_is_answered_with_a_status(
    server: Server, method: str, path: str, body: bytes | None, code: int, reason: str, text: str
) -> None:
    answered, raw = server.raw(method, path, body, {"Content-Type": "application/json"}, True)
    status = json.loads(raw)
    assert (answered, status["code"], status["reason"], status["kind"]) == (code, code, reason, "Status")
    assert text in status["message"]


def test_a_body_that_is_too_large_is_refused_while_it_comes(server: Server) -> None:
    for headers in ({"Content-Length": str(40 << 20)}, {"Transfer-Encoding": "chunked"}):
        connection = server.connection()
        body = (b"x" * 65536 for _ in range(640))
        # It may hang up before we have sent everything; then there is no answer to read.
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            connection.request("POST", PODS, body, headers, encode_chunked="Transfer-Encoding" in headers)
            response = connection.getresponse()
            status = json.loads(response.read())
            assert (response.status, status["reason"]) == (413, "RequestEntityTooLarge")
        connection.close()
    assert server.ask("GET", "/version")[0] == 200


def test_garbage_on_the_port_does_no_harm(server: Server) -> None:
    for garbage in (b"\x00" * 4096, os.urandom(65536), b"GET / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), 5) as plain:
            plain.sendall(garbage)
            plain.settimeout(5)
            with contextlib.suppress(OSError):
                plain.recv(4096)
    context = server.context(certificate=True)
    plain = socket.create_connection(("127.0.0.1", server.port), 5)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as inside:
        inside.sendall(b"NONSENSE\r\n\r\n" + os.urandom(1000))
        assert b"400" in inside.recv(4096)
    long = server.raw("GET", "/api/v1/pods?labelSelector=" + "a" * 200_000, None, {}, True)
    assert long[0] == 400
    assert server.ask("GET", PODS)[0] == 200


def test_who_may_do_what(server: Server) -> None:
    assert server.anonymous("GET", "/healthz")[0] == 200
    assert server.anonymous("GET", "/api/v1/pods")[0] == 403
    assert server.anonymous("GET", "/api/v1/pods", {"Authorization": "Bearer nonsense"})[0] == 401
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    code, answer = server.ask("POST", path, {"spec": {}})
    assert code == 201
    token = {"Authorization": f"Bearer {answer['status']['token']}"}
    assert server.anonymous("GET", "/apis", token)[0] == 200
    code, body = server.anonymous("GET", "/api/v1/pods", token)
    assert code == 403
    assert 'User "system:serviceaccount:default:default" cannot list resource "pods"' in json.loads(body)["message"]
    review = {"spec": {"token": answer["status"]["token"]}}
    code, reviewed = server.ask("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
    assert reviewed["status"]["user"]["username"] == "system:serviceaccount:default:default"
    assert server.ask("POST", path, {"spec": {"expirationSeconds": 10}})[0] == 422


def test_a_token_of_a_pod_ends_with_the_pod(server: Server) -> None:
    pod = server.ask("POST", PODS, {**POD, "metadata": {"name": "tok"}})[1]
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "tok", "uid": pod["metadata"]["uid"]}
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    token = server.ask("POST", path, {"spec": {"boundObjectRef": bound}})[1]["status"]["token"]
    header = {"Authorization": f"Bearer {token}"}
    assert server.anonymous("GET", "/apis", header)[0] == 200
    wrong = {"spec": {"boundObjectRef": {**bound, "uid": "other"}}}
    assert server.ask("POST", path, wrong)[0] == 409
    server.ask("DELETE", f"{PODS}/tok?gracePeriodSeconds=0")
    assert server.anonymous("GET", "/apis", header)[0] == 401


def test_a_certificate_of_another_authority_is_refused(server: Server, tmp_path: Path) -> None:
    from octoedge.apiserver.access.credentials import Credentials

    other = Credentials(tmp_path, ("127.0.0.1",), 1, time.time())
    context = server.context(certificate=False)
    context.load_cert_chain(other.kubelet_client.certificate, other.kubelet_client.key)
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=5)

    def talk() -> None:
        connection.request("GET", "/api/v1/pods")
        connection.getresponse()

    with pytest.raises((ssl.SSLError, ConnectionError)):
        talk()
    connection.close()


def test_a_namespace_takes_its_contents_along(server: Server) -> None:
    assert server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "away"}})[0] == 201
    inside = "/api/v1/namespaces/away/configmaps"
    names = {item["metadata"]["name"] for item in server.ask("GET", inside)[1]["items"]}
    assert names == {"kube-root-ca.crt"}
    server.ask("POST", inside, {"metadata": {"name": "x", "finalizers": ["example.com/wait"]}})
    assert server.ask("DELETE", "/api/v1/namespaces/away")[1]["status"]["phase"] == "Terminating"
    until(lambda: server.ask("GET", f"{inside}/x")[1], lambda one: one["metadata"].get("deletionTimestamp"))
    assert server.ask("POST", inside, {"metadata": {"name": "late"}})[0] == 403
    server.ask("PATCH", f"{inside}/x", {"metadata": {"finalizers": None}}, MERGE)
    until(lambda: server.ask("GET", "/api/v1/namespaces/away"), lambda answer: answer[0] == 404)
    assert server.ask("GET", inside)[1]["items"] == []


def test_protobuf_bodies_and_tables(server: Server) -> None:
    inner = bytes([0x0A, 3, 0x0A, 1]) + b"b"  # metadata {name: b}
    inner += bytes([0x12, 6, 0x0A, 1]) + b"k" + bytes([0x12, 1]) + b"v"
    names = bytes([0x0A, 2]) + b"v1" + bytes([0x12, 9]) + b"ConfigMap"
    body = b"k8s\0" + bytes([0x0A, len(names)]) + names + bytes([0x12, len(inner)]) + inner
    code, raw = server.raw("POST", MAPS, body, {"Content-Type": "application/vnd.kubernetes.protobuf"}, True)
    assert (code, json.loads(raw)["data"]) == (201, {"k": "v"})
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    table = server.ask("GET", f"{MAPS}/b", None, accept)[1]
    assert (table["kind"], table["rows"][0]["cells"][:2]) == ("Table", ["b", 1])
    assert server.ask("GET", "/api/", None)[1]["versions"] == ["v1"]
    assert server.ask("GET", f"{MAPS}/b", None, {"Accept": "application/vnd.kubernetes.protobuf"})[0] == 406


def test_kill_9_at_any_moment_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    versions: list[int] = []
    begun = version_of(server, MAPS)
    for round_ in range(3):
        for number in range(20):
            code, made = server.ask("POST", MAPS, {"metadata": {"name": f"k-{round_}-{number}"}})
            assert code == 201
            versions.append(int(made["metadata"]["resourceVersion"]))
        server.stop(signal.SIGKILL)
        server.start()
    names = {item["metadata"]["name"] for item in server.ask("GET", MAPS)[1]["items"]}
    assert {f"k-{round_}-{number}" for round_ in range(3) for number in range(20)} <= names
    assert versions == sorted(set(versions))
    events = server.watch(MAPS, begun, 1)
    seen = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert [version for version in seen if version in versions] == versions
    assert server.stop() == 0


def ready(node: Json) -> str:
    """Status of a node's Ready condition."""
    return next(str(one["status"]) for one in node["status"]["conditions"] if one["type"] == "Ready")


def until(read: Any, good: Any, seconds: float = 10) -> Any:
    """Read until what was read is good."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = read()
        if good(found):
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {found}")


def test_openapi_is_fetched_once(server: Server) -> None:
    index = server.ask("GET", "/openapi/v3")[1]["paths"]["api/v1"]["serverRelativeURL"]
    connection = server.connection()
    connection.request("GET", index)
    response = connection.getresponse()
    document = json.loads(response.read())
    assert "immutable" in response.headers["Cache-Control"]
    assert response.headers["Expires"]
    patch = document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert "fieldValidation" in {parameter["name"] for parameter in patch["parameters"]}
    connection.request("GET", index, headers={"If-None-Match": response.headers["ETag"]})
    again = connection.getresponse()
    assert (again.status, again.read()) == (304, b"")
    connection.close()


def test_kill_9_in_the_middle_of_many_writers(tmp_path: Path) -> None:
    """Whatever was answered is there, whole; whatever was not is there whole or not at all."""
    server = Server(tmp_path)
    server.start()
    answered: list[set[str]] = [set() for _ in range(4)]

    def write(worker: int) -> None:
        connection = server.connection()
        with contextlib.suppress(OSError, http.client.HTTPException):
            for number in range(100_000):
                name = f"w-{worker}-{number}"
                body = json.dumps({"metadata": {"name": name}, "data": {"name": name, "fill": "x" * 2000}})
                connection.request("POST", MAPS, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                response.read()
                if response.status == 201:
                    answered[worker].add(name)
        connection.close()

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: sum(map(len, answered)), lambda count: count > 300)
    server.stop(signal.SIGKILL)
    for thread in threads:
        thread.join(20)
    server.start()
    items = {item["metadata"]["name"]: item for item in server.ask("GET", MAPS)[1]["items"]}
    assert set().union(*answered) <= set(items)
    assert all(item["data"]["name"] == name for name, item in items.items() if name.startswith("w-"))
    assert server.stop() == 0


def test_a_stalled_watcher_costs_the_others_nothing(server: Server) -> None:
    stalled = server.connection()
    stalled.request("GET", f"{MAPS}?watch=true")
    stalled.getresponse()  # and never read on
    version = version_of(server, MAPS)
    for number in range(60):
        body = {"metadata": {"name": "big"}, "data": {"fill": f"{number}" + "x" * 200_000}}
        method, path = ("POST", MAPS) if not number else ("PUT", f"{MAPS}/big")
        assert server.ask(method, path, body)[0] in (200, 201)
    code, answer = server.ask("GET", f"{MAPS}?watch=true&resourceVersion={version}&timeoutSeconds=1")
    assert (code, answer["reason"]) == (410, "Expired")
    server.ask("DELETE", f"{MAPS}/big")
    stalled.close()


def test_server_side_apply(server: Server) -> None:
    applying = {"Content-Type": "application/apply-patch+yaml"}
    first = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ssa"}, "data": {"a": "1", "b": "2"}}
    code, made = server.ask("PATCH", f"{MAPS}/ssa?fieldManager=one", first, applying)
    assert (code, made["data"]) == (201, {"a": "1", "b": "2"})
    second = {**first, "data": {"b": "3"}}
    code, refused = server.ask("PATCH", f"{MAPS}/ssa?fieldManager=two", second, applying)
    assert (code, refused["reason"]) == (409, "Conflict")
    code, taken = server.ask("PATCH", f"{MAPS}/ssa?fieldManager=two&force=true", second, applying)
    assert (code, taken["data"]) == (200, {"a": "1", "b": "3"})
    code, left = server.ask("PATCH", f"{MAPS}/ssa?fieldManager=one", {**first, "data": {}}, applying)
    assert (code, left["data"]) == (200, {"b": "3"})
    assert server.ask("PATCH", f"{MAPS}/ssa", first, applying)[0] == 422
    merging = {"Content-Type": "application/merge-patch+json"}
    for patch in ({"kind": "Secret"}, {"apiVersion": "v2"}):
        assert server.ask("PATCH", f"{MAPS}/ssa", patch, merging)[0] == 400
    assert server.ask("GET", "/apis/apps/v1/namespaces/default/deployments/none/scale/status")[0] == 404
    assert server.ask("DELETE", f"{MAPS}/ssa")[0] == 200


def test_a_patch_writes_no_object_but_its_own(server: Server) -> None:
    for name in ("own", "other"):
        assert server.ask("POST", MAPS, {"metadata": {"name": name}, "data": {"of": name}})[0] == 201
    for kind, patch in (
        ("json-patch+json", [{"op": "replace", "path": "/metadata/name", "value": "other"}]),
        ("merge-patch+json", {"metadata": {"name": "other"}}),
        ("strategic-merge-patch+json", {"metadata": {"name": "made"}}),
        ("merge-patch+json", {"metadata": {"namespace": "kube-system"}}),
    ):
        code, refused = server.ask("PATCH", f"{MAPS}/own", patch, {"Content-Type": f"application/{kind}"})
        assert (code, refused["reason"]) == (400, "BadRequest"), patch
        assert "does not match the name" in refused["message"]
    assert server.ask("GET", f"{MAPS}/other")[1]["data"] == {"of": "other"}
    assert server.ask("GET", f"{MAPS}/made")[0] == 404


def test_who_may_only_patch_makes_nothing_by_applying(server: Server) -> None:
    roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/"
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}
    assert server.ask("POST", f"{roles}roles", {"metadata": {"name": "patcher"}, "rules": [rule]})[0] == 201
    grant = {"roleRef": {"kind": "Role", "name": "patcher"}, "subjects": [{"kind": "User", "name": "pat"}]}
    assert server.ask("POST", f"{roles}rolebindings", {"metadata": {"name": "patcher"}, **grant})[0] == 201
    applying = {"Content-Type": "application/apply-patch+yaml", "Impersonate-User": "pat"}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"a": "1"}}
    path = f"{MAPS}/applied?fieldManager=pat"
    code, refused = server.ask("PATCH", path, body, applying)
    assert code == 403
    assert 'cannot create resource "configmaps"' in refused["message"]
    assert server.ask("POST", MAPS, body)[0] == 201
    assert server.ask("PATCH", path, body, applying)[0] == 200


def test_nothing_more_is_waited_for_once_an_object_goes(server: Server) -> None:
    assert (
        server.ask("POST", MAPS, {"metadata": {"name": "going", "finalizers": ["a.example/x", "b.example/y"]}})[0]
        == 201
    )
    assert server.ask("DELETE", f"{MAPS}/going")[0] == 200
    merging = {"Content-Type": "application/merge-patch+json"}
    more = {"metadata": {"finalizers": ["a.example/x", "c.example/z"]}}
    code, refused = server.ask("PATCH", f"{MAPS}/going", more, merging)
    assert (code, refused["reason"]) == (422, "Invalid")
    assert "no new finalizers can be added if the object is being deleted" in refused["message"]
    for left in (["b.example/y"], None):
        assert server.ask("PATCH", f"{MAPS}/going", {"metadata": {"finalizers": left}}, merging)[0] == 200
    assert server.ask("GET", f"{MAPS}/going")[0] == 404
