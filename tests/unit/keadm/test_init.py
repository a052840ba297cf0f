"""What `keadm init` writes into cloudcore.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from octoedge.keadm.init import Wish, config
from octoedge.keadm.system import Root


def written(folder: Path, wish: Wish) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(config(wish, Root(folder)))
    return tree


def test_behind_a_kubernetes_nodes_show_cloudcores_address(tmp_path: Path) -> None:
    tree = written(tmp_path, Wish(kubeconfig=Path("/root/.kube/config"), addresses=("127.0.0.1", "192.0.2.10")))
    assert tree["octoedge"]["kubeletAddress"] == "192.0.2.10"
    assert tree["modules"]["iptablesManager"]["enable"] is False
    assert tree["modules"]["dynamicController"]["enable"] is True
    other = Wish(
        kubeconfig=Path("/root/.kube/config"),
        addresses=("192.0.2.10",),
        sets=("octoedge.kubeletAddress=cloud.example",),
    )
    assert written(tmp_path, other)["octoedge"]["kubeletAddress"] == "cloud.example"


def test_the_embedded_api_needs_no_such_address_and_logs_are_kept_below_the_root(tmp_path: Path) -> None:
    tree = written(tmp_path, Wish(addresses=("192.0.2.10",)))
    assert tree["octoedge"] == {"keptLogs": {"directory": str(tmp_path / "var/lib/kubeedge/logs")}}
