"""What is written for CloudCore and EdgeCore is understood by them and keeps to the home."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from octoedge.api.config.load import parse_cloudcore, parse_edgecore
from octoedge.errors import ConfigError
from octoedge.keadm import configfiles
from octoedge.keadm.layout import Layout

LAYOUT = Layout(Path("/srv/edge"), offset=1000, slot=1, node="barn")
TEXTS = [configfiles.cloudcore(LAYOUT, ["192.0.2.7"]), configfiles.edgecore(LAYOUT, "token")]


@pytest.mark.parametrize("text", TEXTS)
def test_every_path_is_below_the_home(text: str) -> None:
    paths = re.findall(r"(?:^|[ /])(/[a-zA-Z][^\s]*)", text)
    assert paths
    assert all(
        path.startswith("/srv/edge/") or path == "/srv/edge/edge" or path == LAYOUT.cgroup_root for path in paths
    )


def test_cloudcore_reads_it() -> None:
    config = parse_cloudcore(TEXTS[0].encode(), "cloudcore.yaml")
    hub = config.modules.cloud_hub
    assert (hub.websocket.port, hub.https.port) == (11000, 11002)
    assert hub.advertise_address == ("127.0.0.1", "192.0.2.7")
    assert hub.authorization.enable
    assert not hub.authorization.debug
    assert config.modules.cloud_stream.enable
    assert config.modules.dynamic_controller.enable
    assert config.common_config.monitor_server.bind_address == "127.0.0.1:10091"


def test_edgecore_reads_it() -> None:
    config = parse_edgecore(TEXTS[1].encode(), "edgecore.yaml")
    modules = config.modules
    assert modules.meta_manager.meta_server.enable
    assert modules.meta_manager.meta_server.server == "127.0.0.1:11550"
    assert config.feature_gates == {"requireAuthorization": True}
    assert config.octoedge.edge_dns.enable
    assert config.octoedge.edge_dns.listen == (f"{LAYOUT.gateway}:53",)
    assert modules.edged.hostname_override == "barn"
    assert modules.edged.report_event
    assert modules.edge_hub.token == "token"
    assert modules.edge_hub.websocket.server == "127.0.0.1:11000"
    assert modules.edge_hub.http_server == "https://127.0.0.1:11002"
    assert modules.edge_stream.enable
    assert modules.event_bus.mqtt_server_external == "tcp://127.0.0.1:2883"


def test_new_addresses_are_added_and_nothing_else_is_changed(tmp_path: Path) -> None:
    text = configfiles.cloudcore(Layout(tmp_path), ["192.0.2.7"]) + "# my own words\n"
    assert configfiles.missing_addresses(text, ["127.0.0.1", "192.0.2.7"]) == []
    missing = configfiles.missing_addresses(text, ["192.0.2.7", "10.89.77.1", "192.0.2.8"])
    edited = configfiles.add_addresses(text, missing)
    assert missing == ["10.89.77.1", "192.0.2.8"]
    assert edited.replace("    - 10.89.77.1\n    - 192.0.2.8\n", "") == text
    assert configfiles.missing_addresses(edited, missing) == []


@pytest.mark.parametrize("given", ["[192.0.2.7]", "[]", "null"])
def test_a_list_in_another_form_is_added_to_as_well(given: str) -> None:
    text = f"modules: {{cloudHub: {{advertiseAddress: {given}}}}}\n"
    edited = configfiles.add_addresses(text, ["10.89.77.1"])
    assert configfiles.missing_addresses(edited, ["10.89.77.1"]) == []


@pytest.mark.parametrize("text", ["", "modules: 1", "modules: {cloudHub: []}"])
def test_a_cloudcore_file_without_its_section_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"cloudHub"):
        configfiles.missing_addresses(text, ["10.89.77.1"])
