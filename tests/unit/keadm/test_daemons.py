"""What an installation runs, and what stands in its way before it does."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from octoedge.keadm.daemons import daemons, problems
from octoedge.keadm.layout import Layout


def test_the_daemons_in_the_order_of_their_start(tmp_path: Path) -> None:
    run = daemons(Layout(tmp_path))
    assert list(run) == ["apiserver", "cloudcore", "containerd", "mosquitto", "edgecore"]
    assert all(str(tmp_path) in " ".join(daemon.command) for daemon in run.values())


def test_the_kubeconfigs_name_the_loopback_first(tmp_path: Path) -> None:
    command = daemons(Layout(tmp_path, offset=1000))["apiserver"].command
    assert command[command.index("--advertise-address") + 1] == "127.0.0.1"
    assert "0.0.0.0:7443" in command
    assert "https://127.0.0.1:11003" in command


def test_a_stranger_on_the_brokers_port_is_a_problem(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        offset = server.getsockname()[1] - 1883
        if offset > 54000:
            pytest.skip("no offset leads to this port")
        server.listen(0)
        found = [str(problem) for problem in problems(Layout(tmp_path, offset=offset))]
    assert any("by something that is no MQTT broker open to this machine" in problem for problem in found)


def test_looking_changes_nothing(tmp_path: Path) -> None:
    problems(Layout(tmp_path / "home", offset=21000))
    assert list(tmp_path.iterdir()) == []
