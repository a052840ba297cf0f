"""Who may ask MetaServer what, what it does with the rest, and that nothing sent to it breaks it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from octoedge.edge.edgestream.logs import log_request
from octoedge.edge.ports import LogRequest
from octoedge.errors import not_found
from octoedge.kube.kinds import Kind
from octoedge.protocol.handshake import certificate_name
from octoedge.testing.dynamiclink import NODE
from octoedge.testing.metaserver import ACCOUNT, MAPS, SHOWN, USER, Site, Watching, decoded, play
from octoedge.transport.http_server import Answer, Request

PART = "kubernetes.io"


def jwt(uid: str = "u1", exp: float = 2e9, sub: str = USER) -> str:
    claims = {"sub": sub, "exp": exp, PART: {"namespace": "default", "pod": {"name": "web", "uid": uid}}}
    parts = [{"alg": "RS256"}, claims]
    coded = [base64.urlsafe_b64encode(msgspec.json.encode(part)).rstrip(b"=").decode() for part in parts]
    return ".".join([*coded, "c2lnbmVk"])


async def hand_out(site: Site, token: str, uid: str = "u1", audiences: tuple[str, ...] = ()) -> None:
    """The token is one that this node handed to a pod."""
    key = msgspec.json.encode(["default", "reader", audiences, 3607, uid]).decode()
    row = (key, uid, 0.0, msgspec.json.encode({"status": {"token": token}}))
    await site.store.database.write(
        lambda connection: connection.execute("INSERT INTO token VALUES (?, ?, ?, ?)", row).rowcount
    )


def test_nobody_is_told_anything_but_health(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.make("one")
        assert (await site.ask("/healthz")).status == 200
        for path in (
            MAPS,
            "/api",
            "/version",
            "/apis",
            f"{MAPS}?watch=true",
            f"{MAPS}/one",
            "/metrics",
            "/",
            "/openapi/v2",
        ):
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"):
                answer = await site.ask(path, method)
                assert answer.status == 401, (method, path)
        for token in ("", "x", "a.b.c", jwt(), jwt(uid="")):
            assert (await site.ask(MAPS, authorization=f"Bearer {token}")).status == 401
        assert not site.api.requests[1:] or all("configmaps" not in where for _, where in site.api.requests[1:])

    play(tmp_path, test, secure=True)


def test_a_pods_token_is_known_without_the_cloud_and_reads_what_it_was_allowed_to(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        token = {"authorization": f"Bearer {jwt()}"}
        await hand_out(site, jwt())
        await site.make("one")
        assert await site.names(**token) == ["one"]
        site.link.cut()
        assert await site.names(**token) == ["one"]
        assert (await site.ask("/api/v1/secrets", **token)).status == 403
        assert (await site.ask(MAPS)).status == 401
        await hand_out(site, jwt("u2", sub="system:serviceaccount:default:other"), "u2")
        other = {"authorization": f"Bearer {jwt('u2', sub='system:serviceaccount:default:other')}"}
        assert (await site.ask(MAPS, **other)).status == 403, "what one account read is not another's"

    play(tmp_path, test, secure=True)


def test_tokens_for_others_expired_and_of_pods_that_are_gone(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await hand_out(site, jwt("u1"), "u1", ("vault",))
        assert (await site.ask(MAPS, authorization=f"Bearer {jwt('u1')}")).status == 401
        old = jwt("u2", exp=1000.0)
        await hand_out(site, old, "u2", ("api",))
        assert (await site.ask(MAPS, authorization=f"Bearer {old}")).status == 401
        fresh = jwt("u3")
        await hand_out(site, fresh, "u3")
        assert (await site.ask(MAPS, authorization=f"Bearer {fresh}")).status == 200
        await site.store.database.write(lambda connection: connection.execute("DELETE FROM token").rowcount)
        await asyncio.sleep(200)
        assert (await site.ask(MAPS, authorization=f"Bearer {fresh}")).status == 401

    play(tmp_path, test, secure=True)


def test_the_nodes_own_certificate_is_the_node_and_anothers_is_nobody(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.make("one")
        for name, status in ((NODE, 200), ("edge-2", 401)):
            certificate = {"subject": ((("commonName", certificate_name(name)),),)}
            answer = await site.server.answer(Request("GET", MAPS, {}, {}, b"", certificate))
            assert answer.status == status

    play(tmp_path, test, secure=True)


def test_in_plain_http_a_browser_by_somebodys_name_is_refused(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        assert (await site.ask(MAPS, host="evil.example:10550")).status == 403
        assert (await site.ask(MAPS, host="127.0.0.1:10550")).status == 200
        assert (await site.ask(MAPS, host="[::1]:10550")).status == 200

    play(tmp_path, test)


def test_writes_go_to_the_cloud_and_are_refused_with_the_reason_without_it(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        made = await site.ask(MAPS, "POST", {"metadata": {"name": "one"}, "data": {"a": "1"}})
        assert made.status == 201
        patch: dict[str, Any] = {"data": {"a": "2"}}
        changed = await site.ask(f"{MAPS}/one", "PATCH", patch, content_type="application/merge-patch+json")
        assert decoded(changed)["data"] == {"a": "2"}
        assert (await site.ask(f"{MAPS}/one", "PUT", {"metadata": {"name": "one"}})).status == 200
        assert (await site.ask(MAPS, "DELETE")).status == 405
        assert decoded(await site.ask(f"{MAPS}/one", "DELETE"))["status"] == "Success"
        assert (await site.ask(f"{MAPS}/one")).status == 404
        site.link.cut()
        refused = await site.ask(MAPS, "POST", {"metadata": {"name": "two"}})
        assert refused.status == 503
        assert "the cloud is away, and nothing can be changed" in decoded(refused)["message"]

    play(tmp_path, test)


def test_who_may_not_is_refused_in_his_own_name(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        site.api.trusted.discard(USER)
        await hand_out(site, jwt())
        answer = await site.ask(MAPS, authorization=f"Bearer {jwt()}")
        assert answer.status == 403
        assert USER in decoded(answer)["message"]
        assert ACCOUNT in site.link.accounts

    play(tmp_path, test, secure=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(max_size=60),
    st.dictionaries(
        st.sampled_from(
            ["watch", "labelSelector", "fieldSelector", "resourceVersion", "limit", "continue", "timeoutSeconds"]
        ),
        st.text(max_size=20),
    ),
    st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "X"]),
)
def test_no_request_breaks_it(tmp_path: Path, rest: str, query: dict[str, str], method: str) -> None:
    async def test(site: Site) -> None:
        for path in (f"/api/v1/{rest}", MAPS, f"{MAPS}/{rest}"):
            answer = await site.server.answer(Request(method, path, query, {}, b'{"metadata":{"name":"x"}}'))
            assert 200 <= answer.status < 505
            assert answer.status != 500, answer.body
            if not isinstance(answer.body, bytes):
                await answer.body.aclose()

    play(tmp_path, test)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(st.text(max_size=80), st.builds(lambda a, b: f"{a}.{b}.x", st.text(max_size=30), st.text(max_size=30)))
)
def test_no_token_breaks_it(tmp_path: Path, token: str) -> None:
    async def test(site: Site) -> None:
        site.link.cut()
        assert (await site.ask(MAPS, authorization=f"Bearer {token}")).status == 401

    play(tmp_path, test, secure=True)


def test_behind_a_cloud_of_kubeedge_accounts_are_refused_and_watches_are_lists(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        site.link.ours = False
        certificate = {"subject": ((("commonName", certificate_name(NODE)),),)}
        await hand_out(site, jwt())
        await site.make("one")
        answer = await site.ask(MAPS, authorization=f"Bearer {jwt()}")
        assert answer.status == 403
        assert "KubeEdge" in decoded(answer)["message"]
        watch = Watching(await site.server.answer(Request("GET", MAPS, {"watch": "true"}, {}, b"", certificate)))
        assert await watch.listen(5) == [("ADDED", "one")]
        await site.make("two")
        await site.remove("one")
        assert sorted(await watch.listen(20)) == [("ADDED", "two"), ("DELETED", "one")]
        assert watch.error is None
        await watch.close()

    play(tmp_path, test, secure=True)


async def told_rights(site: Site, *verbs: str) -> None:
    """The cloud has told this node what the account may do with ConfigMaps in `default`."""
    rules = [{"verbs": verbs, "apiGroups": [""], "resources": ["configmaps"]}]
    binding = {"roleBinding": {"metadata": {"name": "r", "namespace": "default"}}, "rules": rules}
    obj = {"metadata": {"name": "reader", "namespace": "default"}, "spec": {"accessRoleBinding": [binding]}}
    place = ("default/serviceaccountaccess/reader", "serviceaccountaccess", msgspec.json.encode(obj).decode())
    await site.store.database.write(
        lambda connection: connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", place).rowcount
    )


def test_without_the_cloud_an_account_may_what_the_cloud_told_of_it(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await hand_out(site, jwt())
        await site.make("one")
        certificate = {"subject": ((("commonName", certificate_name(NODE)),),)}
        await site.server.answer(Request("GET", MAPS, {}, {}, b"", certificate))
        site.link.cut()
        pod = {"authorization": f"Bearer {jwt()}"}
        assert (await site.ask(MAPS, **pod)).status == 403
        await told_rights(site, "list")
        assert await site.names(**pod) == ["one"]
        assert (await site.ask(f"{MAPS}/one", **pod)).status == 403
        assert (await site.ask("/api/v1/configmaps", **pod)).status == 403
        await told_rights(site)
        assert (await site.ask(MAPS, **pod)).status == 403

    play(tmp_path, test, secure=True)


def test_behind_a_cloud_of_kubeedge_an_account_may_what_that_cloud_told_of_it(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        site.link.ours = False
        await hand_out(site, jwt())
        await told_rights(site, "list", "create")
        await site.make("one")
        pod = {"authorization": f"Bearer {jwt()}"}
        assert await site.names(**pod) == ["one"]
        assert (await site.ask(MAPS, "POST", {"metadata": {"name": "two"}}, **pod)).status == 201
        assert (await site.ask(f"{MAPS}/one", "DELETE", **pod)).status == 403
        assert (await site.ask("/api/v1/namespaces/other/configmaps", **pod)).status == 403
        assert (await site.ask("/api/v1/namespaces/default/secrets", **pod)).status == 403
        assert await site.names(**pod) == ["one", "two"]

    play(tmp_path, test, secure=True)


class Pods:
    """Implements `LocalPods`: one pod is held, one runs."""

    def __init__(self) -> None:
        self.held = ["shop/waits"]
        self.restarted: list[str] = []
        self.asked: list[LogRequest] = []

    def release(self, namespace: str, name: str) -> int:
        if f"{namespace}/{name}" not in self.held:
            return 0
        self.held.remove(f"{namespace}/{name}")
        return 1

    def release_all(self) -> int:
        count = len(self.held)
        self.held.clear()
        return count

    async def restart(self, namespace: str, name: str) -> None:
        if name != "web":
            raise not_found("pods", f"{namespace}/{name}")
        self.restarted.append(f"{namespace}/{name}")

    def containers(self, namespace: str, name: str) -> list[str]:
        if name not in ("web", "two"):
            raise not_found("pods", f"{namespace}/{name}")
        return ["main"] if name == "web" else ["a", "b"]

    async def logs(self, request: LogRequest) -> AsyncIterator[bytes]:
        self.asked.append(request)
        return _chunks(b"one\n", b"two \xff\n")


async def _chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def say(site: Site, path: str, body: str, **headers: str) -> Answer:
    return await site.server.answer(Request("POST", path, {}, headers, body.encode()))


def test_root_releases_held_pods_and_restarts_pods_also_without_the_cloud(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        site.link.cut()
        assert (await say(site, "/api/v1/pods/unhold-upgrade", "shop/waits")).status == 503
        pods = site.server.extensions.pods = Pods()
        assert (await say(site, "/api/v1/pods/unhold-upgrade", "shop/other")).status == 404
        for wrong in ("", "waits", "/waits", "shop/", "a/b/c"):
            assert (await say(site, "/api/v1/pods/unhold-upgrade", wrong)).status == 400
        assert (await say(site, "/api/v1/nodes/unhold-upgrade", "other")).status == 400
        assert pods.held
        assert (await say(site, "/api/v1/pods/unhold-upgrade", "shop/waits")).status == 200
        pods.held.append("shop/again")
        assert (await say(site, "/api/v1/nodes/unhold-upgrade", NODE)).status == 200
        assert not pods.held
        answer = await say(site, "/api/v1/namespaces/shop/pods/restart", '["web", "none"]')
        assert decoded(answer)["LogMessages"] == ["pod shop/web restarts"]
        assert "not found" in decoded(answer)["errMessages"][0]
        assert (await say(site, "/api/v1/namespaces/shop/pods/restart", "web")).status == 400
        assert pods.restarted == ["shop/web"]

    play(tmp_path, test)


def test_a_pod_may_not_release_or_restart_anything(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await hand_out(site, jwt())
        await told_rights(site, "*")
        pods = site.server.extensions.pods = Pods()
        for path, body in (
            ("/api/v1/pods/unhold-upgrade", "shop/waits"),
            ("/api/v1/nodes/unhold-upgrade", NODE),
            ("/api/v1/namespaces/shop/pods/restart", '["web"]'),
        ):
            assert (await say(site, path, body, authorization=f"Bearer {jwt()}")).status == 403
            assert (await say(site, path, body)).status == 401
        assert pods.held
        assert not pods.restarted

    play(tmp_path, test, secure=True)


def test_the_api_is_said_to_be_here(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        kind = Kind("endpointslices", "EndpointSlice", "discovery.k8s.io", "v1")
        about = {"name": "kubernetes", "namespace": "default"}
        body = {
            "metadata": about,
            "endpoints": [{"addresses": ["192.0.2.1"]}],
            "ports": [{"name": "https", "port": 6443}],
        }
        await site.api.client().create(kind, "default", msgspec.json.encode(body))
        slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        for away in (False, True):
            if away:
                site.link.cut()
            for found in (
                decoded(await site.ask(slices))["items"][0],
                decoded(await site.ask(f"{slices}/kubernetes")),
            ):
                assert found["endpoints"][0]["addresses"] == [SHOWN[0]]
                assert found["ports"][0]["port"] == SHOWN[1]

    play(tmp_path, test)


def test_root_reads_logs_also_without_the_cloud_and_runs_nothing_here(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        site.link.cut()
        pods = site.server.extensions.pods = Pods()
        site.server.extensions.parse = log_request
        log = "/api/v1/namespaces/shop/pods/{}/log"
        answer = decoded(await site.ask(log.format("web") + "?tailLines=5"))
        assert answer == {"errMessages": [], "logMessages": ["one\ntwo \ufffd\n"]}
        assert pods.asked == [LogRequest("shop", "web", "main", tail_lines=5)]
        for path, agent in ((log.format("web"), "kubectl/v1.32"), (log.format("web") + "?follow=true", "curl")):
            text = await site.ask(path, user_agent=agent)
            assert not isinstance(text.body, bytes)
            assert [chunk async for chunk in text.body] == [b"one\n", b"two \xff\n"]
        assert "choose one of: [a b]" in decoded(await site.ask(log.format("two")))["message"]
        assert (await site.ask(log.format("two") + "?container=b")).status == 200
        assert (await site.ask(log.format("none"))).status == 404
        assert (await site.ask(log.format("web") + "?tailLines=x")).status == 400
        assert (await site.ask(log.format("web").replace("log", "exec"), "POST")).status == 403
        refused = await say(site, "/api/v1/taskupgrade/confirm-upgrade", "")
        assert (refused.status, "node tasks are not implemented" in decoded(refused)["message"]) == (400, True)

    play(tmp_path, test)


def test_a_pod_reads_no_log_past_the_api_server(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await hand_out(site, jwt())
        await told_rights(site, "*")
        pods = site.server.extensions.pods = Pods()
        site.server.extensions.parse = log_request
        site.link.cut()
        for path in ("log", "exec"):
            for method in ("GET", "POST"):
                where = f"/api/v1/namespaces/shop/pods/web/{path}"
                assert (await site.ask(where, method, authorization=f"Bearer {jwt()}")).status in (403, 503)
                assert (await site.ask(where, method)).status == 401
        assert not pods.asked

    play(tmp_path, test, secure=True)


def bytes_of(answer: Answer) -> bytes:
    return answer.body if isinstance(answer.body, bytes) else b""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=60),
        st.fixed_dictionaries(
            {},
            optional={
                "ID": st.text(max_size=5),
                "Status": st.sampled_from(["Approved", "Rejected", "InApplying", "Failed", ""]),
                "Reason": st.text(max_size=10),
                "RespBody": st.one_of(
                    st.none(), st.binary(max_size=40).map(lambda one: base64.b64encode(one).decode())
                ),
                "Error": st.fixed_dictionaries(
                    {}, optional={"ErrStatus": st.dictionaries(st.text(max_size=5), st.none())}
                ),
            },
        ).map(msgspec.json.encode),
    )
)
@example(b'{"Status":"Approved","RespBody":"gA=="}')
def test_no_answer_of_a_cloud_breaks_it(tmp_path: Path, body: bytes) -> None:
    async def test(site: Site) -> None:
        await site.make("one")
        assert await site.names() == ["one"]
        site.link.says = body
        for path in (MAPS, f"{MAPS}/one", "/api", f"{MAPS}?watch=true&timeoutSeconds=1"):
            answer = await site.ask(path)
            assert answer.status != 500 or b"this node failed" not in bytes_of(answer)
            if not isinstance(answer.body, bytes):
                await answer.body.aclose()

    play(tmp_path, test)
