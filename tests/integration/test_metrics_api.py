"""nodes/NAME/proxy and metrics.k8s.io: the API server with a CloudCore that knows two nodes, one of them away."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from octoedge.apiserver.apiserver import ApiServer, Settings
from octoedge.testing.tls import make

METRICS = "/apis/metrics.k8s.io/v1beta1"
SUMMARY = {
    "node": {
        "nodeName": "n1",
        "cpu": {"time": "2026-11-21T05:00:00Z", "usageNanoCores": 250_000_000, "windowSeconds": 1.5},
        "memory": {"workingSetBytes": 2 << 30},
    },
    "pods": [
        {
            "podRef": {"name": "cart", "namespace": "default", "uid": "u"},
            "containers": [{"name": "app", "cpu": {"usageNanoCores": 7}, "memory": {"workingSetBytes": 10 << 20}}],
        },
        {"podRef": {"name": "unknown", "namespace": "default", "uid": "v"}, "containers": [{"name": "x"}]},
    ],
}


@dataclass
class CloudCore:
    """10003 as far as plain pages go."""

    asked: list[str] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(f"{request.headers['X-Forwarded-Uri']} {request.rel_url}")
        node = request.headers["X-Forwarded-Uri"].split("/")[4]
        if node == "n2":
            return web.Response(status=503, text="node n2 has no tunnel to the cloud since 2026-11-21T05:00:00Z")
        if request.path == "/stats/summary":
            return web.json_response(SUMMARY)
        return web.Response(text=f"page {request.path} of {node}")


@dataclass
class World:
    """One API server with two nodes and three pods."""

    port: int
    session: aiohttp.ClientSession
    tls: ssl.SSLContext
    cloud: CloudCore

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        url = f"https://127.0.0.1:{self.port}{path}"
        async with self.session.request(method, url, json=body, headers=headers, ssl=self.tls) as answer:
            if answer.content_type == "application/json":
                return answer.status, await answer.json()
            return answer.status, await answer.text()

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        return await self.ask("GET", path, **headers)


def pod(name: str, node: str, **labels: str) -> dict[str, Any]:
    spec = {"nodeName": node, "containers": [{"name": "app", "image": "i:v1"}]}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


def in_world(folder: Path, test: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        cloud = CloudCore()
        runner = web.ServerRunner(web.Server(cloud.answer), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=make(folder / "kubelet").server(want_client=False))
        await site.start()
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        endpoint = f"https://127.0.0.1:{runner.addresses[0][1]}"
        server = ApiServer(Settings(folder / "api", port=port, kubelet_endpoint=endpoint))
        async with asyncio.timeout(50), asyncio.TaskGroup() as group, aiohttp.ClientSession() as session:
            group.create_task(server.run())
            await server.ready()
            tls = ssl.create_default_context(cafile=str(folder / "api/pki/ca.crt"))
            tls.load_cert_chain(folder / "api/pki/admin.crt", folder / "api/pki/admin.key")
            world = World(port, session, tls, cloud)
            for node in ("n1", "n2"):
                await world.ask("POST", "/api/v1/nodes", {"metadata": {"name": node, "labels": {"zone": node}}})
            for each in (pod("cart", "n1", app="cart"), pod("away", "n2"), pod("quiet", "n1")):
                assert (await world.ask("POST", "/api/v1/namespaces/default/pods", each))[0] == 201
            try:
                await test(world)
            finally:
                server.stop()
                await runner.cleanup()

    asyncio.run(main())


def test_nodes_that_answer_are_told_of(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        code, body = await w.get(f"{METRICS}/nodes")
        assert (code, body["kind"], body["apiVersion"]) == (200, "NodeMetricsList", "metrics.k8s.io/v1beta1")
        (row,) = body["items"]
        assert (row["metadata"]["name"], row["metadata"]["labels"]["zone"]) == ("n1", "n1")
        assert row["usage"] == {"cpu": "250000000n", "memory": f"{2 << 20}Ki"}
        assert (row["timestamp"], row["window"]) == ("2026-11-21T05:00:00Z", "1.500s")
        assert (await w.get(f"{METRICS}/nodes?labelSelector=zone=n2"))[1]["items"] == []
        assert (await w.get(f"{METRICS}/nodes/n1"))[1]["usage"]["cpu"] == "250000000n"
        for name in ("n2", "none"):
            code, body = await w.get(f"{METRICS}/nodes/{name}")
            assert (code, body["message"]) == (404, f'nodemetrics.metrics.k8s.io "{name}" not found')

    in_world(tmp_path, test)


def test_pods_that_the_api_knows_are_told_of(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        for path in (f"{METRICS}/pods", f"{METRICS}/namespaces/default/pods?labelSelector=app%3Dcart"):
            (row,) = (await w.get(path))[1]["items"]
            assert row["metadata"]["name"] == "cart"
            assert row["containers"] == [{"name": "app", "usage": {"cpu": "7n", "memory": "10240Ki"}}]
        assert (await w.get(f"{METRICS}/namespaces/other/pods"))[1]["items"] == []
        assert (await w.get(f"{METRICS}/namespaces/default/pods/cart"))[1]["kind"] == "PodMetrics"
        code, body = await w.get(f"{METRICS}/namespaces/default/pods/quiet")
        assert (code, body["message"]) == (404, 'podmetrics.metrics.k8s.io "default/quiet" not found')

    in_world(tmp_path, test)


def test_the_group_is_in_discovery_and_can_only_be_read(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        groups = [group["name"] for group in (await w.get("/apis"))[1]["groups"]]
        assert "metrics.k8s.io" in groups
        resources = (await w.get(METRICS))[1]["resources"]
        assert [(one["name"], one["verbs"]) for one in resources] == [
            ("nodes", ["get", "list"]),
            ("pods", ["get", "list"]),
        ]
        assert (await w.ask("DELETE", f"{METRICS}/nodes/n1"))[0] == 405
        assert (await w.ask("POST", f"{METRICS}/nodes", {}))[0] == 405
        assert (await w.get("/openapi/v3"))[0] == 200

    in_world(tmp_path, test)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("healthz", "/healthz"),
        ("stats/summary?only_cpu_and_memory=true", "/stats/summary?only_cpu_and_memory=true"),
        ("metrics/", "/metrics"),
    ],
)
def test_pages_of_nodes_are_passed_on(tmp_path: Path, path: str, asked: str) -> None:
    async def test(w: World) -> None:
        code, _ = await w.get(f"/api/v1/nodes/n1/proxy/{path}")
        assert code == 200
        assert w.cloud.asked == [f"/api/v1/nodes/n1/proxy{asked.partition('?')[0]} {asked}"]

    in_world(tmp_path, test)


def test_what_a_node_refuses_is_told_and_who_may_not_is_refused(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        code, body = await w.get("/api/v1/nodes/n2/proxy/healthz")
        assert (code, body["reason"]) == (503, "ServiceUnavailable")
        assert "has no tunnel to the cloud since" in body["message"]
        assert (await w.get("/api/v1/nodes/none/proxy/healthz"))[0] == 404
        assert (await w.ask("POST", "/api/v1/nodes/n1/proxy/run/x"))[0] == 405
        stranger = {"Impersonate-User": "nobody"}
        assert (await w.get("/api/v1/nodes/n1/proxy/healthz", **stranger))[0] == 403
        assert (await w.get(f"{METRICS}/nodes", **stranger))[0] == 403

    in_world(tmp_path, test)
