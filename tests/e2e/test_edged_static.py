"""A static pod from a file of the node: it runs, the API shows it, and who deletes it there gets it back."""

from __future__ import annotations

from typing import Any

from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation

from .pods import await_ready, container_id, pod

_MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: gate}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, image: "octoedge.local/hello:1", command: ["sh", "-c", "echo static; sleep 1000"]}
"""


def test_a_manifest_runs_and_is_shown(installation: Installation) -> None:
    folder = installation.layout.edge / "manifests"
    folder.mkdir(exist_ok=True)
    manifest = folder / "gate.yaml"
    manifest.write_text(_MANIFEST)
    try:
        eventually(lambda: installation.kubectl("get", "pod", "gate-edge-1").status, lambda status: status == 0)
        first = await_ready(installation, "gate-edge-1")
        assert installation.kubectl("logs", "gate-edge-1").check() == "static\n"
        installation.kubectl("delete", "pod", "gate-edge-1", "--wait=false").check()
        again = eventually(lambda: _mirror(installation), lambda found: _uid(found) not in ("", _uid(first)))
        again = await_ready(installation, "gate-edge-1")
        assert container_id(again) == container_id(first)
    finally:
        manifest.unlink()
    eventually(lambda: installation.kubectl("get", "pod", "gate-edge-1").status, lambda status: status != 0)
    eventually(lambda: installation.ctr("containers", "list", "--quiet"), lambda ids: container_id(first) not in ids)


def _mirror(installation: Installation) -> dict[str, Any]:
    there = installation.kubectl("get", "pod", "gate-edge-1").status == 0
    return pod(installation, "gate-edge-1") if there else {}


def _uid(found: dict[str, Any]) -> str:
    return str(found.get("metadata", {}).get("uid", ""))
