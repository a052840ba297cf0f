"""`kubectl debug` against real containers: a target's processes, a copy of a pod, the node itself."""

from __future__ import annotations

from typing import Any

from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation

from .pods import apply_hello, await_ready, container_id, is_ready, pod

_IMAGE = "octoedge.local/hello:1"


def _debugger(installation: Installation, name: str) -> dict[str, Any]:
    found = pod(installation, name)["status"].get("ephemeralContainerStatuses") or [{}]
    return dict(found[0])


def test_a_debugger_sees_the_processes_of_its_target(installation: Installation) -> None:
    before = apply_hello(installation)
    words = ("--image", _IMAGE, "--target", "web", "-c", "spy", "--", "sh", "-c", "ps; sleep 1000")
    installation.kubectl("debug", "hello", *words).check()
    eventually(lambda: _debugger(installation, "hello"), lambda one: "running" in one.get("state", {}))
    seen = eventually(lambda: installation.kubectl("logs", "hello", "-c", "spy").out, lambda text: "PID" in text)
    assert "httpd" in seen
    assert installation.kubectl("exec", "hello", "-c", "spy", "--", "echo", "here").check() == "here\n"
    after = pod(installation, "hello")
    assert is_ready(after)
    assert container_id(after) == container_id(before)


def test_a_node_is_debugged_with_its_own_eyes(installation: Installation) -> None:
    words = ("--image", _IMAGE, "--", "sh", "-c", "ls /host; sleep 1000")
    made = installation.kubectl("debug", "node/edge-1", *words).check()
    name = next(word for word in made.split() if word.startswith("node-debugger-"))
    await_ready(installation, name)
    seen = eventually(lambda: installation.kubectl("logs", name).out, lambda text: "tmp" in text)
    assert {"bin", "etc", "proc"} <= set(seen.split())
