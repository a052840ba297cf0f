"""Events that the control plane itself tells: created once, counted when they happen again."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import msgspec

from octoedge.apiserver.store.backend import Edit, Put, View
from octoedge.runtime.clock import rfc3339

Json = dict[str, Any]


def event(view: View, about: Json, reason: str, message: str, now: float, *, warning: bool, component: str) -> Edit:
    """The edit that tells `message` about the object `about`: a new Event, or one more count of the same."""
    metadata = about["metadata"]
    namespace = metadata.get("namespace") or "default"
    digest = hashlib.sha256(f"{metadata['uid']} {reason} {message} {component}".encode()).hexdigest()[:16]
    name = f"{metadata['name'][:200]}.{digest}"
    stamp = rfc3339(now)
    known = view.get("events", namespace, name)
    if known is not None:
        seen: Json = msgspec.json.decode(known.data)
        return Put("events", {**seen, "count": seen.get("count", 1) + 1, "lastTimestamp": stamp})
    return Put(
        "events",
        {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": str(uuid.uuid4()),
                "creationTimestamp": stamp,
            },
            "involvedObject": {
                "kind": about["kind"],
                "apiVersion": about["apiVersion"],
                "namespace": metadata.get("namespace", ""),
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
            "reason": reason,
            "message": message,
            "type": "Warning" if warning else "Normal",
            "source": {"component": component},
            "reportingComponent": component,
            "reportingInstance": "",
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        },
    )
