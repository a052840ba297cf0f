"""One real installation for all end-to-end tests; they need root, since real containers do."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from octoedge.keadm.host import Listener, holder, is_free
from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation

OFFSET = int(os.environ.get("OCTOEDGE_TEST_PORT_OFFSET", "15000"))
"""Ports of the tests: 21443, 25000 …"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(180))
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="real containers need root"))


@pytest.fixture(scope="session")
def running() -> Iterator[Installation]:
    """The installation, brought up once and removed at the end."""
    assert is_free(Listener(30080, "hello")), f"the sample's port 30080 is taken{holder(30080)}; free it first"
    home = Path(tempfile.mkdtemp(prefix="octoedge-e2e-"))
    installation = Installation(home, OFFSET)
    try:
        installation.up("--node-grace", "20")
        yield installation
    finally:
        installation.octoedge("down", "--purge")
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(f"{home}-kubectl", ignore_errors=True)


@pytest.fixture
def installation(running: Installation) -> Iterator[Installation]:
    """The installation, whole at the start of each test and without pods at its end."""
    running.up()
    yield running
    running.up()
    running.kubectl("delete", "pods,configmaps", "--all", "--grace-period=1", "--timeout=30s").check()
    eventually(lambda: running.ctr("containers", "list", "--quiet"), lambda ids: ids == "")
