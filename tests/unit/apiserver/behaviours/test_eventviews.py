"""events.k8s.io/v1 shows the same events as the core group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from octoedge.apiserver.behaviours.eventviews import NewerEvent
from octoedge.apiserver.writing.rest import Place
from octoedge.testing.controlplane import ControlPlane, simulate

Json = dict[str, Any]

CORE: Json = {
    "kind": "Event",
    "apiVersion": "v1",
    "metadata": {"name": "e", "namespace": "default"},
    "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
    "reason": "Started",
    "message": "it runs",
    "type": "Normal",
    "count": 3,
    "firstTimestamp": "2026-01-01T00:00:00Z",
    "lastTimestamp": "2026-01-01T00:00:01Z",
    "source": {"component": "kubelet", "host": "edge-1"},
    "eventTime": None,
}


def test_there_and_back() -> None:
    shown = NewerEvent().shown(CORE)
    assert (shown["note"], shown["regarding"]["name"], shown["deprecatedCount"]) == ("it runs", "p", 3)
    assert shown["reportingController"] == "kubelet"
    assert "involvedObject" not in shown
    assert NewerEvent().kept(shown) == {**CORE, "reportingComponent": "kubelet"}


def test_both_are_one_object(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        newer: Json = {
            "kind": "Event",
            "apiVersion": "events.k8s.io/v1",
            "metadata": {"name": "n", "namespace": "default"},
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
            "reportingController": "example.com/c",
            "reportingInstance": "c-0",
            "action": "Binding",
            "reason": "Bound",
            "note": "said by the newer name",
            "type": "Normal",
        }
        kind = at.kinds.of_object("events.k8s.io/v1", "Event")
        assert kind is not None
        await at.create(newer)
        kept = at.get("events", "n")
        assert (kept["apiVersion"], kept["message"], kept["involvedObject"]["name"]) == (
            "v1",
            "said by the newer name",
            "p",
        )
        item = at.backend.get("events", "default", "n")
        assert item is not None
        assert msgspec.json.decode(kind.shown(item).data)["note"] == "said by the newer name"
        await at.rest.edit(Place(kind, "default", "n"), lambda obj: {**obj, "note": "changed"}, {})
        assert at.get("events", "n")["message"] == "changed"
        assert at.kinds.named("events").group == ""

    simulate(tmp_path, story)
