"""Which changes matter to the edge."""

from __future__ import annotations

import json
from typing import Any

from octoedge.cloud.edgecontroller.changes import matters


def _pod(*, version: str = "1", status: str = "Pending", **changes: Any) -> bytes:
    metadata = {"name": "web", "resourceVersion": version, "generation": int(version), **changes.pop("metadata", {})}
    body = {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": "e"}, "status": {"phase": status}}
    return json.dumps({**body, **changes}).encode()


def test_status_and_bookkeeping_do_not_matter() -> None:
    assert not matters(_pod(), _pod(version="2", status="Running", metadata={"managedFields": [1]}))


def test_everything_else_does() -> None:
    assert matters(_pod(), _pod(version="2", metadata={"labels": {"a": "b"}}))
    assert matters(_pod(), _pod(version="2", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}))
    assert matters(_pod(), _pod(version="2", spec={"nodeName": "f"}))
    assert matters(_pod(), _pod(version="2", data={"a": "b"}))
