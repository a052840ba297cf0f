"""A kopf operator: handlers of create, update and delete, its finalizer, status by patch, resume after a restart."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from octoedge.testing.apiserver import ApiServerProcess
from octoedge.testing.eventually import eventually

OPERATOR = Path(__file__).parent / "scripts" / "operator_with_kopf.py"
MERGE = "application/merge-patch+json"
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "greetings.kopf.example.com"},
    "spec": {
        "group": "kopf.example.com",
        "scope": "Namespaced",
        "names": {"plural": "greetings", "singular": "greeting", "kind": "Greeting"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"text": {"type": "string"}}},
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


@contextlib.contextmanager
def operator(python: Path, kubeconfig: Path, namespace: str) -> Iterator[Path]:
    """The operator runs, until the end of the block; what it says is in the file."""
    said = kubeconfig.with_name("operator.log")
    environment = {"KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent), "PATH": "/usr/bin:/bin"}
    command = [str(python), "-m", "kopf", "run", "--standalone", "--namespace", namespace, str(OPERATOR)]
    with said.open("a") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process:
        try:
            yield said
        finally:
            process.terminate()
            process.wait(15)


def test_an_operator(client_python: Path, kubeconfig: Path, namespace: str, server: ApiServerProcess) -> None:
    server.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", DEFINITION)
    greetings = f"/apis/kopf.example.com/v1/namespaces/{namespace}/greetings"
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    eventually(lambda: server.ask("GET", greetings).code == 200)
    with operator(client_python, kubeconfig, namespace):
        greeting = {"metadata": {"name": "g"}, "spec": {"text": "hello"}}
        assert (
            server.ask("POST", greetings, {**greeting, "apiVersion": "kopf.example.com/v1", "kind": "Greeting"}).code
            == 201
        )
        eventually(lambda: server.ask("GET", f"{maps}/g").body.get("data") == {"text": "hello"})
        found = eventually(lambda: server.ask("GET", f"{greetings}/g").body, lambda one: one.get("status"))
        assert found["status"]["created"] == {"made": "g"}
        assert found["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"]
        server.ask("PATCH", f"{greetings}/g", {"spec": {"text": "bye"}}, MERGE)
        eventually(lambda: server.ask("GET", f"{greetings}/g").body.get("status", {}).get("seen") == "bye")
        assert server.ask("GET", f"{maps}/g").body["data"]["text"] == "bye"
    server.ask("PATCH", f"{greetings}/g", {"spec": {"text": "while it was away"}}, MERGE)
    with operator(client_python, kubeconfig, namespace):
        eventually(
            lambda: server.ask("GET", f"{greetings}/g").body.get("status", {}).get("seen") == "while it was away"
        )
        eventually(lambda: server.ask("GET", f"{greetings}/g").body.get("status", {}).get("resumed"))
        assert server.ask("DELETE", f"{greetings}/g").code == 200
        eventually(lambda: server.ask("GET", f"{greetings}/g").code == 404)
        assert server.ask("GET", f"{maps}/g-was-here").code == 200
    eventually(lambda: server.ask("GET", f"{maps}/g").code == 404)
