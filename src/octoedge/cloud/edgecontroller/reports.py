"""Status reports as edges before 1.12 send them (spec: metadata, sections 2.3 and 2.4). Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from octoedge.api.meta import fields, splice
from octoedge.errors import MessageError
from octoedge.protocol.payloads import Payload


class _NodeReport(msgspec.Struct, frozen=True):
    Status: dict[str, msgspec.Raw] = {}
    ExtendResources: dict[str, msgspec.Raw] | None = None


class _PodReport(msgspec.Struct, frozen=True):
    UID: str
    Status: msgspec.Raw
    Name: str = ""


_KEPT = ("volumesAttached", "daemonEndpoints")
"""Parts of a node's status that the cloud knows better."""


def with_status(live: bytes, report: bytes) -> bytes:
    """The live Node with the reported status, and with extended resources as annotations."""
    try:
        seen = msgspec.json.decode(report, type=_NodeReport)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(f"not a node status report: {error}") from error
    now = fields(bytes(fields(live).get("status", msgspec.Raw(b"{}"))))
    kept = {key: now[key] for key in _KEPT if key in now}
    node = splice(live, {"status": {**seen.Status, **kept}})
    extended = {name: bytes(value).decode() for name, value in (seen.ExtendResources or {}).items()}
    if not extended:
        return node
    metadata = fields(bytes(fields(live)["metadata"]))
    annotations = msgspec.json.decode(metadata.get("annotations", msgspec.Raw(b"{}")), type=dict[str, str])
    return splice(node, metadata={"annotations": {**annotations, **extended}})


def pod_status(payload: Payload) -> Iterator[tuple[str, str, msgspec.Raw]]:
    """(uid, name, status) of each pod in a report: one when the resource names it, else a list."""
    try:
        if payload.resource.name:
            one = msgspec.json.decode(payload.body, type=_PodReport)
            yield one.UID, payload.resource.name, one.Status
            return
        for report in msgspec.json.decode(payload.body, type=list[_PodReport]):
            yield report.UID, report.Name, report.Status
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(f"not a pod status report: {error}") from error
