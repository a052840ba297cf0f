"""The flags become a configuration that EdgeCore takes; what cannot be is said before anything is changed."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from octoedge.api.config.load import parse_edgecore
from octoedge.errors import ConfigError, InstallError
from octoedge.keadm import join, system
from octoedge.keadm.join import Wish
from octoedge.keadm.system import Root, unit

TOKEN = f"{'a' * 64}.head.payload.signature"
WISH = Wish("192.0.2.10", 10000, "site.barn-3", TOKEN, labels={"zone": "a"})


def test_flags_stand_in_the_file_and_defaults_are_kubeedges() -> None:
    config = parse_edgecore(join.config(WISH, Root()).encode(), "edgecore.yaml")
    hub, edged = config.modules.edge_hub, config.modules.edged
    assert (hub.http_server, hub.websocket.server, hub.token) == (
        "https://192.0.2.10:10002", "192.0.2.10:10000", TOKEN,
    )  # fmt: skip
    assert (edged.hostname_override, dict(edged.node_labels)) == ("site.barn-3", {"zone": "a"})
    assert config.modules.edge_stream.enable
    assert config.modules.meta_manager.meta_server.enable
    assert config.feature_gates == {"requireAuthorization": True}
    assert (config.octoedge.edge_dns.enable, config.octoedge.edge_dns.listen) == (True, ("169.254.30.10:53",))
    assert config.modules.edge_stream.server == "192.0.2.10:10004"
    assert config.database.data_source == "/var/lib/kubeedge/edgecore.db"
    assert hub.tls_cert_file == "/etc/kubeedge/certs/server.crt"


def test_below_another_root_no_path_is_the_machines(tmp_path: Path) -> None:
    config = parse_edgecore(join.config(WISH, Root(tmp_path)).encode(), "edgecore.yaml")
    edged = config.modules.edged
    for path in (
        config.database.data_source, config.modules.edge_hub.tls_ca_file, edged.root_directory,
        edged.tailored_kubelet_config.pod_logs_dir, edged.tailored_kubelet_config.static_pod_path,
    ):  # fmt: skip
        assert Path(path).is_relative_to(tmp_path)
    assert edged.tailored_kubelet_config.container_runtime_endpoint == "unix:///run/containerd/containerd.sock"


def test_settings_go_before_flags_and_unknown_ones_are_named() -> None:
    text = join.config(replace(WISH, sets=["Modules.EdgeStream.Server=192.0.2.11:7"]), Root())
    assert parse_edgecore(text.encode(), "x").modules.edge_stream.server == "192.0.2.11:7"
    with pytest.raises(ConfigError, match="the nearest is 'edgeHub'"):
        join.config(replace(WISH, sets=["Modules.EdgeHbu.Enable=true"]), Root())


@pytest.mark.parametrize(
    ("text", "parts"),
    [("192.0.2.1:1", ("192.0.2.1", 1)), ("cloud.example:10000", ("cloud.example", 10000)), ("[::1]:5", ("::1", 5))],
)
def test_addresses(text: str, parts: tuple[str, int]) -> None:
    assert join.address(text) == parts


@pytest.mark.parametrize("text", ["", "192.0.2.1", "192.0.2.1:", ":1", "h:0", "h:65536", "h:x", "::1:5"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        join.address(text)


def test_a_wrong_token_or_name_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="keadm gettoken"):
        join.check(replace(WISH, token="abc"), Root(tmp_path))
    with pytest.raises(ConfigError, match="--edgenode-name 'Barn'"):
        join.check(replace(WISH, node="Barn"), Root(tmp_path))
    assert not list(tmp_path.iterdir())


def test_an_install_that_is_there_is_not_touched(tmp_path: Path) -> None:
    root = Root(tmp_path)
    root.make_folders()
    with pytest.raises(InstallError, match="`keadm reset edge` clears it away"):
        join.check(WISH, root)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd judges units")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    root = Root()
    for service in (system.edgecore(root), system.cloudcore(root), system.apiserver(root, "--listen", "0.0.0.0:6443")):
        file = tmp_path / f"{service.name}.service"
        file.write_text(unit(service.name, service.line()))
        done = subprocess.run(("systemd-analyze", "verify", file), capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stderr.replace(str(tmp_path), "")) == (0, "")


def test_the_unit_is_kubeedges() -> None:
    text = unit("edgecore", "/usr/local/bin/edgecore")
    for line in ("ExecStart=/usr/local/bin/edgecore", "Restart=always", "RestartSec=10", "KillMode=process"):
        assert f"\n{line}\n" in text
