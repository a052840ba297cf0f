"""Configuration files: KubeEdge's own documents load, print as they were, and mistakes are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from octoedge.api.config.cloudcore import CloudCoreConfig
from octoedge.api.config.edgecore import EdgeCoreConfig
from octoedge.api.config.load import (
    MAX_BYTES,
    default_cloudcore,
    default_edgecore,
    load_cloudcore,
    load_edgecore,
    parse_cloudcore,
    parse_edgecore,
)
from octoedge.api.config.show import dump_yaml, min_cloudcore, min_edgecore, to_tree
from octoedge.errors import ConfigError

DEFAULTS = Path(__file__).parent / "defaults"
IP = "192.0.2.7"


def document(name: str) -> dict[str, Any]:
    tree = yaml.safe_load((DEFAULTS / f"{name}.yaml").read_text())
    assert isinstance(tree, dict)
    return tree


def edge_defaults() -> EdgeCoreConfig:
    return parse_edgecore(b"modules: {edged: {hostnameOverride: edge-1}}", "test", local_ip=IP)


def test_cloudcore_defaults_are_kubeedges_key_by_key() -> None:
    assert to_tree(default_cloudcore(local_ip=IP)) == document("cloudcore-default")


def test_edgecore_defaults_are_kubeedges_key_by_key() -> None:
    assert to_tree(edge_defaults()) == document("edgecore-default")


def switched_on(tree: dict[str, Any], *modules: str) -> dict[str, Any]:
    for module in modules:
        assert tree["modules"][module]["enable"] is False
        tree["modules"][module]["enable"] = True
    return tree


def test_minimal_files_are_kubeedges_with_the_modules_left_on() -> None:
    cloud = switched_on(document("cloudcore-minimal"), "cloudHub")
    edge = switched_on(document("edgecore-minimal"), "edgeHub", "eventBus", "deviceTwin")
    assert min_cloudcore(default_cloudcore(local_ip=IP)) == cloud
    assert min_edgecore(edge_defaults()) == edge


@pytest.mark.parametrize("name", ["cloudcore-default", "cloudcore-minimal"])
def test_files_printed_by_kubeedges_cloudcore_load(name: str) -> None:
    config = load_cloudcore(DEFAULTS / f"{name}.yaml")
    assert config.modules.cloud_hub.advertise_address == (IP,)
    assert parse_cloudcore(dump_yaml(config).encode(), "again") == config


@pytest.mark.parametrize("name", ["edgecore-default", "edgecore-minimal"])
def test_files_printed_by_kubeedges_edgecore_load(name: str) -> None:
    config = load_edgecore(DEFAULTS / f"{name}.yaml")
    assert config.modules.edged.tailored_kubelet_config.sync_frequency == 60.0
    assert config.modules.edge_hub.http_server == f"https://{IP}:10002"
    assert parse_edgecore(dump_yaml(config).encode(), "again") == config


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "edgecore.yaml"
    path.write_text("# nothing yet\n")
    assert load_edgecore(path) == default_edgecore()


def test_a_missing_key_keeps_its_default_and_a_given_one_counts() -> None:
    config = parse_cloudcore(b"modules: {cloudHub: {websocket: {port: 12345}}}", "test")
    assert config.modules.cloud_hub.websocket.port == 12345
    assert config.modules.cloud_hub.websocket.enable
    assert config.modules.cloud_hub.https.port == 10002


def test_a_map_adds_to_the_default_map() -> None:
    text = b"modules: {edged: {tailoredKubeletConfig: {evictionHard: {memory.available: 50Mi}}}}"
    hard = parse_edgecore(text, "test").modules.edged.tailored_kubelet_config.eviction_hard
    assert hard["memory.available"] == "50Mi"
    assert hard["nodefs.available"] == "10%"


def test_keys_in_another_case_count_as_they_do_in_go() -> None:
    assert parse_edgecore(b"modules: {edgeHub: {tlsCAFile: /x}}", "test").modules.edge_hub.tls_ca_file == "/x"
    assert parse_cloudcore(b"modules: {cloudhub: {advertiseaddress: [10.0.0.1]}}", "test") == parse_cloudcore(
        b"modules: {cloudHub: {advertiseAddress: [10.0.0.1]}}", "test"
    )


def test_null_is_the_default_for_values_and_empty_for_lists_and_maps() -> None:
    config = parse_edgecore(
        b"modules: {edged: {nodeLabels: null, podSandboxImage: null,"
        b" tailoredKubeletConfig: {clusterDNS: null, podPidsLimit: null, enforceNodeAllocatable: null}}}",
        "test",
    )
    edged = config.modules.edged
    assert edged.node_labels == {}
    assert edged.pod_sandbox_image == "kubeedge/pause:3.6"
    assert edged.tailored_kubelet_config.enforce_node_allocatable == ()
    assert edged.tailored_kubelet_config.pod_pids_limit is None


def test_durations_are_seconds() -> None:
    text = b"modules: {edged: {minimumGCAge: 1h30m, tailoredKubeletConfig: {cpuCFSQuotaPeriod: 50ms}}}"
    edged = parse_edgecore(text, "test").modules.edged
    assert edged.minimum_gc_age == 5400.0
    assert edged.tailored_kubelet_config.cpu_cfs_quota_period == 0.05


CLOUD_MISTAKES = {
    "modules: {cloudHub: {nodeLimits: 3}}": "cloudHub.nodeLimits is not a known key; the nearest is 'nodeLimit'",
    "modules: {edgeControler: {}}": "modules.edgeControler is not a known key; the nearest is 'edgeController'",
    "1: 2": "1 is not a known key",
    "modules: {cloudHub: {nodeLimit: many}}": "modules.cloudHub.nodeLimit: expected `int`, got `str`",
    "modules: {cloudHub: {nodeLimit: 1.5}}": "modules.cloudHub.nodeLimit",
    "modules: {cloudHub: {nodeLimit: true}}": "modules.cloudHub.nodeLimit",
    "modules: {cloudHub: {dnsNames: x}}": "modules.cloudHub.dnsNames",
    "modules: {cloudHub: {authorization: {modes: [{node: {enabled: true}}]}}}": "modes[0].node.enabled is not a known",
    "modules: []": "modules must be a section with keys, not a list",
    "modules:\n  cloudHub:\n": "modules.cloudHub is empty",
    "just text": "the file must be a section with keys, not text",
    "[1": "is not YAML",
    "a: !!python/object:os.system x": "is not YAML",
    "kind: a\nkind: b": "the key 'kind' stands twice",
    "kind: a\nKind: b": "Kind is given twice",
    "---\na: 1\n---\nb: 1": "is not YAML",
    "\ud7ff: \x00": "is not YAML",
    "modules: {cloudHub: {https: {port: 0}}}": "modules.cloudHub.https.port must be a port",
    "modules: {cloudHub: {websocket: {address: localhost}}}": "modules.cloudHub.websocket.address must be an IP",
    "modules: {cloudHub: {unixsocket: {address: /a}}}": "must begin with unix://",
    "modules: {cloudHub: {tokenRefreshDuration: 0}}": "tokenRefreshDuration must be above 0",
    "modules: {edgeController: {nodeUpdateFrequency: -1}}": "nodeUpdateFrequency must be above 0",
    "modules: {iptablesManager: {mode: ''}}": "modules.iptablesManager.mode must be internal or external",
    "kubeAPIConfig: {kubeConfig: here}": "kubeAPIConfig.kubeConfig must be an absolute path",
    "commonConfig: {monitorServer: {bindAddress: '9091'}}": "bindAddress must be IP:port",
    "octoedge: {logLevel: loud}": "octoedge.logLevel must be one of",
    "octoedge: {kubeletAddress: 'https://cloud'}": "octoedge.kubeletAddress must be an IP address, a name, or *.DOMAIN",
    "octoedge: {keptLogs: {directory: logs}}": "octoedge.keptLogs.directory must be an absolute path",
    "octoedge: {keptLogs: {totalMiB: 0}}": "octoedge.keptLogs.totalMiB must be above 0",
}


@pytest.mark.parametrize("text", CLOUD_MISTAKES)
def test_a_mistake_in_cloudcore_yaml_is_named(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_cloudcore(text.encode(), "cloudcore.yaml")
    assert CLOUD_MISTAKES[text] in str(caught.value)
    assert str(caught.value).startswith("cloudcore.yaml")


EDGE_MISTAKES = {
    "modules: {edged: {hostnameOverride: Edge_1}}": "modules.edged.hostnameOverride must be a DNS-1123 subdomain",
    "modules: {edged: {hostnameOverride: edge.}}": "modules.edged.hostnameOverride must be a DNS-1123 subdomain",
    "modules: {edged: {tailoredKubeletConfig: {cgroupDriver: other}}}": "cgroupDriver must be cgroupfs or systemd",
    "modules: {edgeHub: {quic: {enable: true}}}": "exactly one of",
    "modules: {edgeHub: {messageQPS: -1}}": "messageQPS must not be below 0",
    "modules: {eventBus: {mqttMode: 3}}": "mqttMode must be 0, 1 or 2",
    "modules: {edged: {remoteRuntimeEndpoint: x}}": "it is modules.edged.tailoredKubeletConfig.containerRuntime",
    "modules: {edged: {minimumGCAge: 10}}": "expected a duration such as `1m0s`",
    "modules: {edged: {minimumGCAge: soon}}": "'soon' is not a duration",
    "database: {dataSource: ''}": "database.dataSource must be a file path",
    "octoedge: {edgeDNS: {enable: true, listen: []}}": "octoedge.edgeDNS.listen must name an address",
    "octoedge: {edgeDNS: {enable: true, listen: [localhost:53]}}": "IP:port with an address that is not public",
    "octoedge: {edgeDNS: {enable: true, listen: ['0.0.0.0:53']}}": "IP:port with an address that is not public",
    "octoedge: {edgeDNS: {enable: true, listen: ['172.32.0.1:53']}}": "IP:port with an address that is not public",
    "octoedge: {edgeDNS: {enable: true, listen: ['[2001:db8::1]:53']}}": "IP:port with an address that is not public",
    "octoedge: {edgeDNS: {enable: true, listen: ['10.88.77.1:0']}}": "IP:port with an address that is not public",
    "octoedge: {edgeDNS: {enable: true, listen: ['169.254.1.1:53']}}\n"
    "modules: {metaManager: {metaServer: {enable: true}}}": "only that of metaServer.dummyServer, 169.254.30.10",
}


@pytest.mark.parametrize("text", EDGE_MISTAKES)
def test_a_mistake_in_edgecore_yaml_is_named(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_edgecore(text.encode(), "edgecore.yaml")
    assert EDGE_MISTAKES[text] in str(caught.value)


def test_a_module_that_is_switched_off_is_not_checked() -> None:
    config = parse_edgecore(b"modules: {edged: {enable: false, hostnameOverride: A_B}}", "edgecore.yaml")
    assert not config.modules.edged.enable


def test_every_old_key_is_named_with_its_new_place() -> None:
    with pytest.raises(ConfigError) as caught:
        load_edgecore(DEFAULTS / "edgecore-v1alpha1-default.yaml")
    assert str(caught.value).count("is a key of an older format") == 14


def test_a_file_that_is_missing_or_too_large_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "cloudcore.yaml"
    with pytest.raises(ConfigError, match=r"cloudcore\.yaml cannot be read: No such file"):
        load_cloudcore(path)
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        load_cloudcore(path)


def test_deeply_nested_and_endlessly_aliased_files_end_in_an_error() -> None:
    bomb = "k0: &k0 [x]\n" + "".join(f"k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * 9)}]\n" for n in range(1, 40))
    for text in ("[" * 100_000, bomb, "a: &a [*a]"):
        with pytest.raises(ConfigError):
            parse_cloudcore(text.encode(), "cloudcore.yaml")


def test_bytes_that_are_no_text_are_an_error() -> None:
    with pytest.raises(ConfigError, match="is not YAML"):
        parse_cloudcore(b"\xff\xfe\x00", "cloudcore.yaml")


@pytest.mark.parametrize("make", [default_cloudcore, default_edgecore])
def test_own_keys_are_printed_only_when_they_are_set(make: Callable[[], CloudCoreConfig | EdgeCoreConfig]) -> None:
    config = make()
    assert "octoedge" not in to_tree(config)
    own = msgspec.structs.replace(config, octoedge=msgspec.structs.replace(config.octoedge, log_level="debug"))
    assert to_tree(own)["octoedge"] == {"logLevel": "debug"}


def test_the_status_socket_lies_beside_the_database() -> None:
    assert parse_edgecore(b"database: {dataSource: /a/b.db}", "test").status_socket == "/a/edgecore.sock"
    assert parse_edgecore(b"octoedge: {statusSocket: /run/x}", "test").status_socket == "/run/x"
