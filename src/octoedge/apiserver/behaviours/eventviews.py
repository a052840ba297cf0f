"""events.k8s.io/v1: the events of the core group under their newer names; both are the same objects, kept once."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "count": "deprecatedCount",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "source": "deprecatedSource",
    "reportingComponent": "reportingController",
}
"""Core name → newer name; all others are the same."""
_BACK = {new: old for old, new in _NAMES.items()}


class NewerEvent:
    """events.k8s.io/v1 of what is kept as v1."""

    def shown(self, obj: Json) -> Json:
        """A kept event under the newer names."""
        renamed = {_NAMES.get(key, key): value for key, value in obj.items()}
        source = renamed.get("deprecatedSource") or {}
        if not renamed.get("reportingController") and source.get("component"):
            renamed["reportingController"] = source["component"]
        return {**renamed, "eventTime": renamed.get("eventTime"), "apiVersion": "events.k8s.io/v1"}

    def kept(self, obj: Json) -> Json:
        """An event of the newer names as it is kept."""
        renamed = {_BACK.get(key, key): value for key, value in obj.items()}
        return {**renamed, "involvedObject": renamed.get("involvedObject") or {}, "apiVersion": "v1"}
