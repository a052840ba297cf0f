"""/containerLogs/NAMESPACE/POD/CONTAINER?query: what `kubectl logs` asks, read as the kubelet reads it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from octoedge.edge.ports import ContainerLogs, HttpAnswer, LogRequest
from octoedge.errors import ApiError, bad_request
from octoedge.protocol.tunnel import Connector
from octoedge.runtime.clock import parse_rfc3339

_MAX_FIELDS = 64
_MAX_INT = 2**63 - 1


async def serve_logs(logs: ContainerLogs, connector: Connector) -> HttpAnswer:
    """The log as it comes; `ApiError` with the kubelet's texts when there is none."""
    body = await logs.logs(log_request(connector))
    return HttpAnswer(200, body, {"Content-Type": "text/plain"})


def log_request(connector: Connector) -> LogRequest:
    """The request in a path and query; `ApiError` 400 or 422 with the kubelet's texts."""
    _, namespace, pod, container, *rest = (*connector.segments, "", "", "")
    for value, what in ((pod, "podID"), (container, "container name"), (namespace, "podNamespace")):
        if not value:
            raise bad_request(f'{{"message": "Missing {what}."}}')
    if any(rest):
        raise ApiError(404, "NotFound", "404 page not found")
    query = _query(connector.query)
    request = LogRequest(
        namespace, pod, container,
        follow=_flag(query, "follow"),
        previous=_flag(query, "previous"),
        timestamps=_flag(query, "timestamps"),
        tail_lines=_number(query, "tailLines"),
        limit_bytes=_number(query, "limitBytes"),
        since_seconds=_number(query, "sinceSeconds"),
        since_time=query.get("sinceTime", ""),
    )  # fmt: skip
    _check(request)
    return request


def _query(text: str) -> dict[str, str]:
    """The first value of each field; `tail` is an old name of tailLines, where `all` means no limit."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise bad_request('{"message": "Unable to decode query."}') from error
    query: dict[str, str] = {}
    for name, value in pairs:
        query.setdefault(name, value)
    tail = query.pop("tail", "all")
    if tail != "all":
        query["tailLines"] = tail
    return query


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "false").lower() not in ("false", "0")


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and int(digits) <= _MAX_INT):
        raise bad_request('{"message": "Unable to decode query."}')
    return int(text)


def _check(request: LogRequest) -> None:
    """The kubelet's validation of PodLogOptions."""
    wrong = [
        request.tail_lines is not None and request.tail_lines < 0,
        request.limit_bytes is not None and request.limit_bytes < 1,
        request.since_seconds is not None and request.since_seconds < 1,
        request.since_seconds is not None and bool(request.since_time),
    ]
    if any(wrong):
        raise ApiError(422, "Invalid", '{"message": "Invalid request."}')
    if request.since_time:
        try:
            parse_rfc3339(request.since_time)
        except ValueError as error:
            raise bad_request('{"message": "Unable to decode query."}') from error
