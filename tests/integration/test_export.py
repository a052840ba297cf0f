"""`octoedge export`, and a second cluster that takes over: its API accepts all of it, nodes keep their certificates."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

from octoedge.cloud.cloudcore import CloudCore
from octoedge.commands import octoedge
from octoedge.edge.edgehub.enrolment import Enrolment, Files
from octoedge.kube.access import kubeconfig
from octoedge.kube.client import Client
from octoedge.pki import jointoken, ledger
from octoedge.runtime.clock import SystemClock
from octoedge.testing.apiserver import ApiServerProcess, serving
from octoedge.testing.doors import listening_config

CORE = "/api/v1/namespaces/default"
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "key"}}]}]},
        },
    },
}


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[ApiServerProcess, ApiServerProcess]]:
    with serving(tmp_path / "old", ()) as old, serving(tmp_path / "new", ()) as new:
        yield old, new


@contextlib.asynccontextmanager
async def _cloud(server: ApiServerProcess, folder: Path) -> AsyncIterator[CloudCore]:
    async with Client(kubeconfig(server.folder / "cloudcore.kubeconfig")) as client, asyncio.TaskGroup() as group:
        core = CloudCore(listening_config(folder), client, SystemClock())
        task = group.create_task(core.run())
        async with asyncio.timeout(20):
            await core.ready()
        yield core
        core.stop()
        await task


def _edge(core: CloudCore, folder: Path, token: str = "") -> Enrolment:
    files = Files(folder / "ca.crt", folder / "node.crt", folder / "node.key")
    return Enrolment(
        "edge-1", f"https://127.0.0.1:{core.https.port}", files, SystemClock(), token, bootstrap_file=folder
    )


async def _lives_here(server: ApiServerProcess, folder: Path) -> None:
    """The old cluster: a node that joined, one that was revoked, a token, and what a user made."""
    async with _cloud(server, folder) as core, Client(kubeconfig(server.kubeconfig)) as client:
        token = await jointoken.create(
            client, jointoken.Record("", SystemClock().now() + 60), await jointoken.ca_hash(client)
        )
        await _edge(core, folder, token).ensure()
        await ledger.revoke(client, "edge-2", "stolen", now=SystemClock().now())
    secret = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "key"}, "stringData": {"a": "b"}}
    assert server.ask("POST", f"{CORE}/secrets", secret).code == 201
    node = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "edge-1", "labels": {"site": "north"}}}
    assert server.ask("POST", "/api/v1/nodes", node).code == 201
    assert server.ask("POST", "/apis/apps/v1/namespaces/default/deployments", DEPLOYMENT).code == 201


def test_another_cluster_takes_over_and_nodes_keep_their_certificates(
    servers: tuple[ApiServerProcess, ApiServerProcess], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = servers
    asyncio.run(_lives_here(old, tmp_path))
    folder = tmp_path / "export"
    assert octoedge.main(("export", str(folder), "--kube-config", str(old.kubeconfig))) == 0
    assert "kubectl create -f" in capsys.readouterr().out
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert octoedge.main(("export", str(folder), "--kube-config", str(old.kubeconfig))) == 1
    for file in sorted(folder.iterdir()):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        for obj in yaml.safe_load_all(file.read_text()):
            _create(new, obj)

    async def main() -> None:
        async with _cloud(new, tmp_path) as core:
            await _edge(core, tmp_path).renew()
            assert core.ledger.refuses("edge-2", "any")

    asyncio.run(main())
    assert new.ask("GET", f"{CORE}/secrets/key").body["data"] == {"a": "Yg=="}
    assert new.ask("GET", "/api/v1/nodes/edge-1").body["metadata"]["labels"]["site"] == "north"
    assert new.ask("GET", "/apis/apps/v1/namespaces/default/deployments/web").body["spec"]["replicas"] == 2


def _create(server: ApiServerProcess, obj: dict[str, object]) -> None:
    """As `kubectl create` does; what both clusters bring along (their definitions) may be there."""
    group = str(obj["apiVersion"])
    root = f"/apis/{group}" if "/" in group else f"/api/{group}"
    plurals = {one["kind"]: one for one in server.ask("GET", root).body["resources"] if "/" not in one["name"]}
    kind = plurals[str(obj["kind"])]
    metadata = obj["metadata"]
    assert isinstance(metadata, dict)
    place = f"/namespaces/{metadata['namespace']}" if kind["namespaced"] else ""
    answer = server.ask("POST", f"{root}{place}/{kind['name']}", obj)
    assert answer.code in (201, 409), (obj, answer.body)
    assert answer.code == 201 or obj["kind"] in ("CustomResourceDefinition", "Namespace"), answer.body
