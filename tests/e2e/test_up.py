"""`octoedge up` can be run again at any time, stops before it does harm, and is taken back without a trace."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from octoedge.keadm import image, network
from octoedge.keadm.processes import find_by_arguments
from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation, fetch

from .pods import PAGE, URL, apply_hello, await_ready

NAMES = ["apiserver", "cloudcore", "containerd", "mosquitto", "edgecore"]


def test_a_second_run_changes_nothing(installation: Installation) -> None:
    before = {name: installation.daemon(name).pid() for name in NAMES}
    began = time.monotonic()
    words = installation.up()
    assert "nothing had to be done" in words
    assert time.monotonic() - began < 5
    assert {name: installation.daemon(name).pid() for name in NAMES} == before


def test_status_is_well(installation: Installation) -> None:
    parts = installation.status()
    assert list(parts) == NAMES
    assert all(part["ok"] for part in parts.values()), parts
    assert parts["edgecore"]["node"] == "edge-1"
    assert parts["edgecore"]["pid"] == installation.daemon("edgecore").pid()
    assert installation.octoedge("status").status == 0


@pytest.mark.parametrize("name", NAMES)
def test_what_died_is_started_again(installation: Installation, name: str) -> None:
    installation.kill(name)
    assert not installation.status()[name]["ok"]
    installation.up()
    assert eventually(lambda: installation.status()[name]["ok"])


def test_secrets_are_for_their_owner_only(installation: Installation) -> None:
    layout = installation.layout
    keys = [*layout.home.rglob("*.key"), layout.kubeconfig, layout.edgecore_file, layout.cloudcore_file]
    assert len(keys) > 4
    assert {oct(key.stat().st_mode & 0o777) for key in keys} == {"0o600"}


def test_the_kubeconfig_is_where_it_says(installation: Installation) -> None:
    assert installation.octoedge("kubeconfig").check().strip() == str(installation.layout.kubeconfig)


def test_an_image_is_brought_onto_the_node(installation: Installation, tmp_path: Path) -> None:
    wanted = image.hello(image.read_busybox())
    renamed = image.Image(
        "octoedge.local/brought:7", wanted.files, wanted.links, wanted.folders, wanted.entrypoint, wanted.user
    )
    archive = tmp_path / "brought.tar"
    archive.write_bytes(image.archive(renamed))
    assert "imported octoedge.local/brought:7" in installation.octoedge("image", "import", archive).check()
    assert "octoedge.local/brought:7" in installation.ctr("images", "list", "--quiet")


def test_what_is_no_image_is_refused(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no tar")
    assert "is not a whole tar archive" in installation.octoedge("image", "import", tmp_path / "text.tar").err
    assert "is not on this machine" in installation.octoedge("image", "import", "x", "--node", "barn").err


def test_down_and_up_bring_the_pods_back(installation: Installation) -> None:
    before = apply_hello(installation)
    installation.down()
    assert [name for name in NAMES if installation.daemon(name).pid()] == []
    assert find_by_arguments(("-address", str(installation.layout.runtime_socket))) == []
    with pytest.raises(OSError, match="refused"):
        fetch(URL)
    installation.up()
    eventually(lambda: fetch(URL), lambda page: page == PAGE)
    assert await_ready(installation, "hello")["metadata"]["uid"] == before["metadata"]["uid"]


def test_a_taken_port_stops_it_before_anything_is_changed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        offset = port - 6443
        if offset > 54000:
            pytest.skip("no offset leads to this port")
        done = Installation(home, offset).octoedge("up")
    assert done.status == 1
    assert f"port {port} (apiserver) is taken by" in done.err
    assert "nothing was changed" in done.err
    assert not home.exists()


@pytest.mark.skipif("root" not in os.environ.get("USER", "root"), reason="changes the network")
def test_a_second_installation_lives_beside_the_first_and_leaves_no_trace(installation: Installation) -> None:
    home = Path(tempfile.mkdtemp(prefix="octoedge-2nd-"))
    second = Installation(home, installation.offset + 1500)
    foreign = home / "notes.txt"
    foreign.write_text("mine")
    try:
        second.up()
        layout = second.layout
        assert layout.bridge != installation.layout.bridge
        assert all(part["ok"] for part in second.status().values())
        second.down(purge=True)
        assert [path.name for path in home.iterdir()] == ["notes.txt"]
        assert network.owner(layout.bridge) is None
        rules = subprocess.run(("iptables", "-t", "nat", "-S"), capture_output=True, text=True, check=True).stdout
        assert str(home) not in rules
        assert str(home) not in Path("/proc/self/mountinfo").read_text()
        assert list(Path("/sys/fs/cgroup").glob(f"*{layout.cgroup_root}")) == []
        assert all(part["ok"] for part in installation.status().values())
    finally:
        second.octoedge("down", "--purge")
        foreign.unlink()
        home.rmdir()


def test_status_of_nothing_is_empty(tmp_path: Path) -> None:
    done = Installation(tmp_path, 0).octoedge("status", "-o", "json")
    assert (done.status, json.loads(done.out)) == (1, {"components": []})
