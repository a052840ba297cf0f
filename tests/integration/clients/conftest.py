"""One API server for all real clients of a test process; every test has a namespace of its own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("aiohttp")

from octoedge.errors import InstallError
from octoedge.keadm import clients
from octoedge.testing.apiserver import ApiServerProcess, serving
from octoedge.testing.kubectl import Tool

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    """A server with one pretended edge node."""
    with serving(tmp_path_factory.mktemp("apiserver")) as found:
        yield found


@pytest.fixture
def namespace(server: ApiServerProcess) -> str:
    """A namespace that only this test uses."""
    name = f"test-{next(_NUMBERS)}"
    assert server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}}).code == 201
    return name


@pytest.fixture
def kubeconfig(server: ApiServerProcess, namespace: str, tmp_path: Path) -> Path:
    """The administrator's, with the namespace of this test."""
    config = json.loads(server.kubeconfig.read_text()) if server.kubeconfig.read_text().startswith("{") else None
    path = tmp_path / "kubeconfig"
    if config is None:
        import yaml

        config = yaml.safe_load(server.kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = namespace
    path.write_text(json.dumps(config))
    return path


@pytest.fixture
def tool(kubeconfig: Path, namespace: str, tmp_path: Path) -> Callable[[Path], Tool]:
    """A program of the cache as a tool of this test."""
    return lambda program: Tool(program, kubeconfig, tmp_path, namespace)


@pytest.fixture(params=list(clients.KUBECTLS))
def kubectl(request: pytest.FixtureRequest, tool: Callable[[Path], Tool]) -> Tool:
    """kubectl of each version."""
    return tool(_program(clients.KUBECTLS[request.param], "kubectl"))


@pytest.fixture
def kubectl_132(tool: Callable[[Path], Tool]) -> Tool:
    """kubectl 1.32, for what does not differ from version to version."""
    return tool(_program(clients.KUBECTLS["1.32"], "kubectl"))


@pytest.fixture(params=list(clients.HELMS))
def helm(request: pytest.FixtureRequest, tool: Callable[[Path], Tool]) -> Tool:
    """helm 3 and helm 4."""
    return tool(_program(clients.HELMS[request.param], "helm"))


@pytest.fixture(scope="session")
def client_python() -> Path:
    """The interpreter that has the Python clients."""
    try:
        return clients.python()
    except InstallError as error:
        pytest.skip(str(error))


def _program(bundle: clients.Bundle, name: str) -> Path:
    try:
        return clients.program(bundle, name)
    except InstallError as error:
        pytest.skip(str(error))
