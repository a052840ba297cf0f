"""Building EdgeCore from its configuration, and blanking the token in a person's file."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from msgspec import structs

from octoedge.api.config.edgecore import EdgeCoreConfig, EdgeModules, MetaManager, MetaServer
from octoedge.api.config.load import parse_edgecore
from octoedge.edge.edgecore import _bootstrap_file, _forgetter, _with_names, api_server_of_pods, build
from octoedge.errors import ConfigError

TOKEN = "ab.cd.ef+gh"


def config(folder: Path, modules: str = "", event_bus: str = "false") -> EdgeCoreConfig:
    text = f"""
database: {{dataSource: "{folder}/edgecore.db"}}
modules:
  edged: {{hostnameOverride: edge-1, rootDirectory: "{folder}"}}
  eventBus: {{enable: {event_bus}}}
{modules}
"""
    return parse_edgecore(text.encode(), "test")


def names(core_config: EdgeCoreConfig) -> list[str]:
    async def main() -> list[str]:
        core = build(core_config)
        try:
            return sorted(core.supervisor.waiting_for)
        finally:
            core.metamanager.close()

    return asyncio.run(main())


def test_only_what_is_switched_on_is_built(tmp_path: Path) -> None:
    off = {"edgehub", "certificate rotation", "capture socket", "deviceTwin", "telemetry"}
    stay = ["edged", "local API", "metamanager", "status socket"]
    assert names(config(tmp_path)) == sorted([*off, *stay])
    assert "eventBus" in names(config(tmp_path, event_bus="true"))
    assert "edgestream" in names(config(tmp_path, "  edgeStream: {enable: true}"))
    lonely = names(config(tmp_path, "  edgeHub: {enable: false}\n  deviceTwin: {enable: false}"))
    assert lonely == stay
    assert "certificate rotation" not in names(config(tmp_path, "  edgeHub: {rotateCertificates: false}"))


def test_names_are_answered_with_and_without_metaserver(tmp_path: Path) -> None:
    switched = 'octoedge: {edgeDNS: {enable: true, listen: ["10.88.77.1:53", "127.0.0.1:5353"]}}'
    alone = config(tmp_path, switched.replace("octoedge", "\noctoedge"))
    assert {"copies", "edgeDNS"} <= set(names(alone))
    assert list(_with_names(alone).tailored_kubelet_config.cluster_dns) == ["10.88.77.1"]
    metaserver = "  metaManager: {metaServer: {enable: true}}\n" + switched
    assert {"metaServer", "edgeDNS"} <= set(names(config(tmp_path, metaserver)))
    assert "copies" not in names(config(tmp_path, metaserver))


def test_a_name_server_that_pods_are_told_to_ask_counts(tmp_path: Path) -> None:
    given = config(tmp_path, "octoedge: {edgeDNS: {enable: true}}")
    kubelet = given.modules.edged.tailored_kubelet_config
    assert list(_with_names(given).tailored_kubelet_config.cluster_dns) == ["169.254.30.10"]
    told = structs.replace(kubelet, cluster_dns=("10.96.0.10",))
    edged = structs.replace(given.modules.edged, tailored_kubelet_config=told)
    changed = structs.replace(given, modules=structs.replace(given.modules, edged=edged))
    assert _with_names(changed) is edged
    assert list(_with_names(config(tmp_path)).tailored_kubelet_config.cluster_dns) == []


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ("  edgeHub: {websocket: {enable: false}, quic: {enable: true}}", "QUIC is not implemented"),
        ("  metaManager: {enable: false}", "edged needs it"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(tmp_path: Path, modules: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        names(config(tmp_path, modules))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"a: 1\n  token: {TOKEN}  # why\nb: 2\n", 'a: 1\n  token: ""  # why\nb: 2\n'),
        (f'  token: "{TOKEN}"\n', '  token: ""\n'),
        (f"  token: '{TOKEN}'\n", '  token: ""\n'),
        (f'{{"token":"{TOKEN}","b":1}}', '{"token":"","b":1}'),
        ("  token: another\n", "  token: another\n"),
    ],
)
def test_the_token_is_blanked_and_everything_else_stays(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "edgecore.yaml"
    file.write_text(before)
    file.chmod(0o640)
    os.utime(file, (1000, 2000))
    _forgetter(file, TOKEN)()
    assert file.stat().st_mtime == 2000, "a change asks for a new start"
    assert file.read_text() == after
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_cannot_be_written_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _forgetter(tmp_path / "nothing.yaml", TOKEN)()
    assert "could not be blanked" in caplog.text


def test_the_systems_bootstrap_file_is_for_the_systems_node() -> None:
    system = Path("/etc/kubeedge/bootstrap-edgecore.conf")
    assert _bootstrap_file(Path("/etc/kubeedge/config/edgecore.yaml"), system) == system
    assert _bootstrap_file(Path("/home/me/edge/edgecore.yaml"), system) == Path("/home/me/edge") / system.name


@pytest.mark.parametrize(
    ("gate", "enabled", "expected"),
    [(True, True, ("169.254.30.10", "10550")), (False, True, ("", "")), (True, False, ("", ""))],
)
def test_pods_are_told_of_the_api_only_where_there_is_one_that_knows_them(
    gate: bool, enabled: bool, expected: tuple[str, str]
) -> None:
    modules = EdgeModules(meta_manager=MetaManager(meta_server=MetaServer(enable=enabled)))
    made = EdgeCoreConfig(modules=modules, feature_gates={"requireAuthorization": gate})
    assert api_server_of_pods(made) == expected
