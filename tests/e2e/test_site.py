"""EdgeSite: a cluster on one machine that no network reaches starts, deploys, and comes back after a power cut."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from octoedge.keadm import sample
from octoedge.keadm.layout import Layout
from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Done, Installation
from octoedge.testing.machine import Machine, boot

from .conftest import OFFSET

ROOT = Path(__file__).parents[2]
SLOT = 97
"""The kernel's cgroups are one tree for all machines here; this part of it is ours."""


@pytest.fixture
def site() -> Iterator[Installation]:
    home = Path(tempfile.mkdtemp(prefix="octoedge-site-"))
    Layout(home, OFFSET, SLOT).save()
    yield Installation(home, OFFSET)
    with boot() as machine:
        Site(machine, Installation(home, OFFSET)).run("octoedge", "down", "--purge")
    shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(f"{home}-kubectl", ignore_errors=True)


class Site:
    """The installation as its user sees it who sits at that machine."""

    def __init__(self, machine: Machine, installation: Installation) -> None:
        self.machine = machine
        self.installation = installation

    def run(self, *command: str) -> Done:
        return self.installation.run(*self.machine.through, *command)

    def page(self, port: int) -> str:
        return self.run("curl", "-s", "--max-time", "3", f"http://127.0.0.1:{port}/").check()


def test_a_site_without_any_network_starts_deploys_and_comes_back(site: Installation) -> None:
    port = sample.FIRST_PORT + OFFSET
    with boot() as machine:
        machine.plug_in()
        here = Site(machine, site)
        here.run("make", "-C", str(ROOT), "up", f"OCTOEDGE_HOME={site.home}", f"PORT_OFFSET={OFFSET}").check()
        machine.unplug()

        assert here.page(port) == sample.PAGE
        here.run("kubectl", "create", "deployment", "late", "--image=octoedge.local/hello:1").check()
        here.run("kubectl", "rollout", "status", "deployment/late", "--timeout=30s").check()
        uids = here.run("kubectl", "get", "pods", "-o", "jsonpath={.items[*].metadata.uid}").check()
        assert len(uids.split()) == 2

    with boot() as machine:
        here = Site(machine, site)
        assert "default" not in machine.call("ip", "route")
        began = time.monotonic()
        told = here.run("make", "-C", str(ROOT), "up", f"OCTOEDGE_HOME={site.home}").check()
        assert time.monotonic() - began < 40
        assert "NOT OK" not in told
        eventually(lambda: here.page(port), lambda text: text == sample.PAGE)
        here.run("kubectl", "rollout", "status", "deployment/late", "--timeout=30s").check()
        assert here.run("kubectl", "get", "pods", "-o", "jsonpath={.items[*].metadata.uid}").check() == uids
        assert "hello from late" in here.run("kubectl", "logs", "deployment/late").check()
        here.run("kubectl", "scale", "deployment/late", "--replicas=2").check()
        here.run("kubectl", "rollout", "status", "deployment/late", "--timeout=30s").check()
        assert "nothing had to be done" in here.run("make", "-C", str(ROOT), "up", f"OCTOEDGE_HOME={site.home}").check()
