"""Pods that the tests apply, and what they ask of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation

HELLO = Path(__file__).parents[2] / "examples" / "hello-pod.yaml"
PAGE = "Hello from the edge!\n"
URL = "http://127.0.0.1:30080/"


def apply_hello(installation: Installation) -> dict[str, Any]:
    """The sample, until it is Ready."""
    installation.kubectl("apply", "-f", HELLO).check()
    return await_ready(installation, "hello")


def await_ready(installation: Installation, name: str, within: float = 30) -> dict[str, Any]:
    """The pod as soon as its Ready condition is True."""
    return eventually(lambda: pod(installation, name), is_ready, within=within)


def pod(installation: Installation, name: str) -> dict[str, Any]:
    """The pod as the API has it."""
    found: dict[str, Any] = installation.get("pod", name)
    return found


def is_ready(found: dict[str, Any]) -> bool:
    """Whether its Ready condition is True."""
    conditions = found["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def started_at(found: dict[str, Any]) -> str:
    """When its first container began."""
    text: str = found["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
    return text


def container_id(found: dict[str, Any]) -> str:
    """containerd's id of its first container."""
    text: str = found["status"]["containerStatuses"][0]["containerID"]
    return text.removeprefix("containerd://")


def is_node_ready(installation: Installation) -> bool:
    """Whether the API says so."""
    conditions = installation.get("node", "edge-1")["status"]["conditions"]
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
