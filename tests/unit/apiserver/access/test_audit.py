"""What is written to the audit log, what never is, and how much of it."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from octoedge.apiserver.access.audit import Audited, AuditLog, Level
from octoedge.apiserver.serving.requests import CLOUDCORE, Answer, Request, Response, Takeover, User
from octoedge.errors import ApiError, forbidden
from octoedge.runtime.clock import SystemClock

Json = dict[str, Any]

POD = "/api/v1/namespaces/default/pods/p"
EVE = User("eve", ("team",))


class Api:
    """Answers with what it is given, or raises it."""

    def __init__(self, answer: Response | ApiError) -> None:
        self.answer = answer

    async def handle(self, _request: Request) -> Response:
        if isinstance(self.answer, ApiError):
            raise self.answer
        return self.answer


def request(method: str, path: str, user: User = EVE, body: bytes = b"", query: str = "") -> Request:
    return Request(method, path, {}, {"User-Agent": "kubectl"}, body, user, query, "192.0.2.7")


def lines(folder: Path) -> list[Json]:
    path = folder / "audit.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def ask(folder: Path, level: Level, one: Request, answer: Response | ApiError) -> Response | None:
    try:
        return await Audited(Api(answer), AuditLog(folder / "audit.log"), level, SystemClock()).handle(one)
    except ApiError:
        return None


def written(folder: Path, level: Level, *requests: Request) -> list[tuple[str, str]]:
    """(verb, resource/subresource) of what was written."""
    for one in requests:
        asyncio.run(ask(folder, level, one, Answer(b"{}", 201)))
    found = [(one["verb"], one["objectRef"]) for one in lines(folder)]
    return [(verb, "/".join(filter(None, (to["resource"], to.get("subresource"))))) for verb, to in found]


def test_an_exec_is_written_with_who_and_whence_when_it_begins_and_when_it_is_over(tmp_path: Path) -> None:
    async def talk(_: web.BaseRequest) -> web.StreamResponse:
        return web.StreamResponse()

    async def story() -> None:
        behind = User("admin", ("system:masters",))
        user = User("eve", ("team",), behind=behind)
        one = request("GET", f"{POD}/exec", user, query="command=rm&command=-rf")
        response = await ask(tmp_path, Level.ACTIONS, one, Takeover(talk))
        assert isinstance(response, Takeover)
        assert len(lines(tmp_path)) == 1
        await response.talk(None)  # type: ignore[arg-type]

    asyncio.run(story())
    begun, over = lines(tmp_path)
    assert (begun["stage"], over["stage"], begun["auditID"] == over["auditID"]) == (
        "ResponseStarted",
        "ResponseComplete",
        True,
    )
    assert (begun["verb"], begun["user"]["username"], begun["impersonatedUser"]["username"]) == (
        "create",
        "admin",
        "eve",
    )
    assert begun["sourceIPs"] == ["192.0.2.7"]
    assert begun["requestURI"] == f"{POD}/exec?command=rm&command=-rf"
    assert begun["objectRef"] == {
        "resource": "pods",
        "namespace": "default",
        "name": "p",
        "apiVersion": "v1",
        "subresource": "exec",
    }
    assert (tmp_path / "audit.log").stat().st_mode & 0o777 == 0o600


def test_a_refusal_is_written(tmp_path: Path) -> None:
    refused = forbidden('User "eve" cannot create resource "pods/exec"')
    asyncio.run(ask(tmp_path, Level.ACTIONS, request("POST", f"{POD}/exec"), refused))
    (one,) = lines(tmp_path)
    assert one["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert (one["responseStatus"]["code"], one["responseStatus"]["reason"]) == (403, "Forbidden")


def test_what_each_level_writes(tmp_path: Path) -> None:
    secret = b'{"data":{"password":"aHVudGVyMg=="}}'
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles/x"
    account = "/api/v1/namespaces/default/serviceaccounts/a/token"
    lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n"
    cloudcore = User(CLOUDCORE)
    everything = (
        request("GET", POD),
        request("GET", "/api/v1/namespaces/default/secrets"),
        request("GET", "/api/v1/nodes/n/proxy/pods"),
        request("GET", "/api/v1/namespaces/default/pods/executor"),
        request("POST", account),
        request("POST", account, cloudcore),
        request("PATCH", roles),
        request("POST", "/api/v1/namespaces/default/secrets", body=secret),
        request("DELETE", "/api/v1/namespaces/default/pods"),
        request("PUT", lease, cloudcore),
        request("PATCH", f"{POD}/status", cloudcore),
        request("PATCH", f"{POD}/status"),
    )
    actions = [("get", "nodes/proxy"), ("create", "serviceaccounts/token"), ("patch", "clusterroles")]
    assert written(tmp_path / "a", Level.ACTIONS, *everything) == []  # a folder that is not there holds up nobody
    for name in ("a", "w"):
        (tmp_path / name).mkdir()
    assert written(tmp_path / "a", Level.OFF, *everything) == []
    assert written(tmp_path / "a", Level.ACTIONS, *everything) == actions
    assert written(tmp_path / "w", Level.WRITES, *everything) == [
        *actions[:2],
        actions[1],
        actions[2],
        ("create", "secrets"),
        ("deletecollection", "pods"),
        ("patch", "pods/status"),
    ]
    assert "aHVudGVyMg" not in (tmp_path / "w/audit.log").read_text()


def test_it_is_rotated_and_bounded(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.log", max_bytes=100, kept=3)
    for number in range(100):
        audit.write(b"%03d" % number * 10 + b"\n")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["audit.log", "audit.log.1", "audit.log.2"]
    assert all(path.stat().st_size <= 100 and path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())
    assert (tmp_path / "audit.log").read_text().splitlines()[-1].startswith("099")
    again = AuditLog(tmp_path / "audit.log", max_bytes=100, kept=3)
    again.write(b"x" * 50)
    assert (tmp_path / "audit.log").stat().st_size <= 100


def test_a_disk_that_fails_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    audit = AuditLog(tmp_path / "missing" / "audit.log")
    with caplog.at_level(logging.INFO):
        audit.write(b"1\n")
        audit.write(b"2\n")
        (tmp_path / "missing").mkdir()
        audit.write(b"3\n")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert (tmp_path / "missing/audit.log").read_bytes() == b"3\n"
    audit.close()
