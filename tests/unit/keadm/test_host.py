"""What stands in the way is found before anything is changed, and named."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from octoedge.keadm.host import Listener, check_ports, check_space, check_system, holder, is_free
from octoedge.keadm.layout import Layout


def test_this_machine_is_fit() -> None:
    assert check_system() == []


def test_a_taken_port_is_named_with_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(Listener(port, "apiserver", "127.0.0.1"))
        assert holder(port).endswith(f"(pid {os.getpid()})")
        (problem,) = check_ports(Layout(Path("/h"), offset=port - 6443), running=["cloudcore"])
    assert f"port {port} (apiserver) is taken by" in str(problem)
    assert "--port-offset" in problem.remedy


def test_a_port_of_a_running_daemon_of_ours_is_fine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        offset = server.getsockname()[1] - 6443
        assert check_ports(Layout(Path("/h"), offset=offset), running=["apiserver", "cloudcore"]) == []


def test_nobody_holds_a_free_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert is_free(Listener(port, "apiserver"))
    assert holder(port) == ""


def test_there_is_room_here(tmp_path: Path) -> None:
    assert check_space(Layout(tmp_path / "not" / "yet" / "there")) == []


def test_no_room_is_said_with_figures() -> None:
    (problem,) = check_space(Layout(Path("/proc/octoedge")))
    assert "MiB left" in problem.what or "cannot be written" in problem.what
    assert "OCTOEDGE_HOME" in problem.remedy
