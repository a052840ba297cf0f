"""containerd's files are what containerd reads, and hold only what is ours."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from octoedge.keadm import containerd
from octoedge.keadm.image import PAUSE
from octoedge.keadm.layout import Layout

LAYOUT = Layout(Path('/srv/an "odd" home'), slot=2)


def test_the_configuration_is_toml_with_our_settings() -> None:
    content = tomllib.loads(containerd.config(LAYOUT, "/usr/lib/cni"))
    cri = content["plugins"]["io.containerd.grpc.v1.cri"]
    assert content["version"] == 2
    assert cri["sandbox_image"] == PAUSE
    assert cri["restrict_oom_score_adj"] is True
    assert cri["registry"] == {"config_path": str(LAYOUT.home / "containerd" / "certs.d")}
    assert cri["cni"] == {"bin_dir": "/usr/lib/cni", "conf_dir": str(LAYOUT.cni / "net.d")}


def test_the_network_is_ours_and_changes_no_kernel_setting() -> None:
    bridge, ports = json.loads(containerd.network(LAYOUT))["plugins"]
    assert bridge["bridge"] == LAYOUT.bridge
    assert bridge["ipam"]["ranges"] == [[{"subnet": LAYOUT.subnet, "gateway": LAYOUT.gateway}]]
    assert bridge["ipam"]["dataDir"].startswith(str(LAYOUT.home))
    assert (bridge["isGateway"], bridge["ipMasq"]) == (False, False)
    assert ports["type"] == "portmap"


def test_every_path_that_the_daemon_gets_is_below_the_home() -> None:
    command = containerd.daemon(LAYOUT).command
    paths = [word for word in command[1:] if word.startswith("/")]
    assert len(paths) == 4
    assert all(Path(path).is_relative_to(LAYOUT.home) for path in paths)


def test_a_socket_that_is_not_there_does_not_answer(tmp_path: Path) -> None:
    assert not containerd.answers(Layout(tmp_path))
