"""`keadm token` and `octoedge node revoke|release` against the real API server, with CloudCore's own rights."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from octoedge.cloud.cloudcore import CloudCore
from octoedge.commands import keadm, octoedge
from octoedge.edge.edgehub.enrolment import Enrolment, Files
from octoedge.errors import TokenError
from octoedge.kube.access import kubeconfig
from octoedge.kube.client import Client
from octoedge.runtime.clock import SystemClock
from octoedge.testing.apiserver import ApiServerProcess, serving
from octoedge.testing.doors import listening_config


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServerProcess]:
    with serving(tmp_path / "api", ()) as running:
        yield running


@contextlib.asynccontextmanager
async def _cloud(server: ApiServerProcess, folder: Path) -> AsyncIterator[CloudCore]:
    """CloudCore with the rights that it has, and no more."""
    async with Client(kubeconfig(server.folder / "cloudcore.kubeconfig")) as client, asyncio.TaskGroup() as group:
        core = CloudCore(listening_config(folder), client, SystemClock())
        task = group.create_task(core.run())
        async with asyncio.timeout(20):
            await core.ready()
        yield core
        core.stop()
        await task


def _edge(core: CloudCore, folder: Path, token: str) -> Enrolment:
    files = Files(folder / "ca.crt", folder / "node.crt", folder / "node.key")
    url = f"https://127.0.0.1:{core.https.port}"
    return Enrolment("edge-7", url, files, SystemClock(), token, bootstrap_file=folder / "none")


def test_a_token_joins_its_node_and_a_revoked_node_is_out(
    server: ApiServerProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    admin = ("--kube-config", str(server.kubeconfig))

    def said(command: object, *line: str) -> str:
        assert command.main(line) == 0, line  # type: ignore[attr-defined]
        return capsys.readouterr().out.strip()

    async def main() -> None:
        async with _cloud(server, tmp_path) as core:
            token = said_token = await asyncio.to_thread(
                said, keadm, "token", "create", "--node", "edge-7", "--once", "--description", "a spare", *admin
            )
            assert said_token.count(".") == 3
            await _edge(core, tmp_path / "first", token).ensure()
            table = await asyncio.to_thread(said, keadm, "token", "list", *admin)
            assert "edge-7 at 20" in table
            assert "a spare" in table
            assert token.rpartition(".")[2] not in table
            with pytest.raises(TokenError, match="has been used"):
                await _edge(core, tmp_path / "second", token).ensure()

            refused = asyncio.Event()
            core.ledger.listen(lambda _: refused.set())
            await asyncio.to_thread(said, octoedge, "node", "revoke", "edge-7", "--reason", "stolen", *admin)
            async with asyncio.timeout(10):
                await refused.wait()
            assert "revoked" in await asyncio.to_thread(said, octoedge, "node", "certificates", *admin)
            with pytest.raises(TokenError, match=r"stolen"):
                await _edge(core, tmp_path / "first", "").renew()
            gettoken = await asyncio.to_thread(said, keadm, "gettoken", *admin)
            with pytest.raises(TokenError, match="octoedge node release edge-7"):
                await _edge(core, tmp_path / "third", gettoken).ensure()
            await asyncio.to_thread(said, octoedge, "node", "release", "edge-7", *admin)
            await _edge(core, tmp_path / "third", gettoken).ensure()
            await asyncio.to_thread(said, keadm, "token", "delete", token.split(".")[2], *admin)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (("create", "--ttl", "1y"), "--ttl '1y': a number with s, m, h or d is wanted"),
        (("create", "--ttl", "1s"), "from 60s to 366d"),
        (("create", "--node", "A/b"), "is no name of a node"),
        (("delete", "xyz"), "is no id of a token"),
    ],
)
def test_what_is_no_token(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, line: tuple[str, ...], sentence: str
) -> None:
    file = tmp_path / "config"
    file.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: u, user: {token: t}}]\n"
    )
    assert keadm.main(("token", *line, "--kube-config", str(file))) == 1
    assert sentence in capsys.readouterr().err


def test_who_can_names_what_a_stolen_certificate_opens(
    server: ApiServerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    def create(path: str, name: str, **more: object) -> None:
        assert server.ask("POST", path, {"metadata": {"name": name}, **more}).code == 201

    create("/api/v1/nodes", "edge-1", kind="Node", apiVersion="v1")
    core = "/api/v1/namespaces/default"
    for name in ("mine", "theirs"):
        create(f"{core}/secrets", name, kind="Secret", apiVersion="v1")
    create(f"{core}/serviceaccounts", "runner", kind="ServiceAccount", apiVersion="v1")
    volumes = [{"name": "s", "secret": {"secretName": "mine"}}]
    spec = {
        "nodeName": "edge-1",
        "serviceAccountName": "runner",
        "containers": [{"name": "c", "image": "i"}],
        "volumes": volumes,
    }
    create(f"{core}/pods", "web", kind="Pod", apiVersion="v1", spec=spec)
    role = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    create(f"{role}/roles", "lists", kind="Role", apiVersion="rbac.authorization.k8s.io/v1", rules=rules)
    bound = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lists"}
    subjects = [{"kind": "ServiceAccount", "name": "runner", "namespace": "default"}]
    create(f"{role}/rolebindings", "lists", roleRef=bound, subjects=subjects)

    admin = ("--kube-config", str(server.kubeconfig))
    assert octoedge.main(("who-can", "node", "edge-1", "-o", "json", *admin)) == 0
    access = json.loads(capsys.readouterr().out)["access"]
    whats = {(row["as"], row["verb"], row["what"]) for row in access}
    assert ("node edge-1", "read", "secret default/mine") in whats
    assert ("account default/runner", "list", "configmaps (core) in default") in whats
    assert not [what for what in whats if "theirs" in what[2]]
    assert octoedge.main(("who-can", "node", "edge-1", *admin)) == 0
    assert "WHERE" in capsys.readouterr().out
    assert octoedge.main(("who-can", "node", "edge-9", *admin)) == 1
    assert "there is no node edge-9; there are edge-1" in capsys.readouterr().err
