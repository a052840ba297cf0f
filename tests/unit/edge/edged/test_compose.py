"""What the runtime is asked for, from what users wrote."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from octoedge.api.core import Pod, view
from octoedge.edge.edged import compose, hosts, resources
from octoedge.edge.edged.compose import ContainerParts, Place
from octoedge.edge.edged.cri import fields as f
from octoedge.testing import node

PLACE = Place(node.NODE, "/octoedge", False, 4 << 30, may_lower_oom=True)


def make(container: dict[str, Any] | None = None, **spec: Any) -> Pod:
    return view(Pod, msgspec.json.encode(node.pod(containers=[container or node.container()], **spec)))


def built(container: dict[str, Any], **spec: Any) -> f.ContainerConfig:
    pod = make(container, **spec)
    parts = ContainerParts(3, "sha256:1", {"A": "1"}, (), "main/3.log")
    return compose.container(pod, pod.spec.containers[0], parts, PLACE)


def security(container: dict[str, Any], **spec: Any) -> f.ContainerSecurityContext:
    linux = built(container, **spec).linux
    assert linux is not None
    assert linux.security_context is not None
    return linux.security_context


def sandbox(**spec: Any) -> f.SandboxConfig:
    return compose.sandbox(make(**spec), 2, PLACE, "/logs", None)


def test_a_container_is_found_again_by_its_labels() -> None:
    config = built(node.container("main", "run", args=["$(A)"]))
    assert config.labels == {
        "io.kubernetes.pod.name": "web", "io.kubernetes.pod.namespace": "default", "io.kubernetes.pod.uid": "uid-web",
        "edge.octoedge.io/node": node.NODE, "io.kubernetes.container.name": "main",
    }  # fmt: skip
    assert config.annotations["io.kubernetes.container.restartCount"] == "3"
    assert (config.command, config.args, config.log_path) == (("run",), ("1",), "main/3.log")


def test_a_pod_on_the_host_leaves_its_name_to_the_host() -> None:
    assert sandbox().hostname == "web"
    assert sandbox(hostname="own").hostname == "own"
    on_host = sandbox(hostNetwork=True)
    assert on_host.hostname == ""
    assert on_host.port_mappings == ()


def test_namespaces() -> None:
    options = security(node.container(), hostNetwork=True, hostPID=True, hostIPC=True).namespace_options
    assert options == f.NamespaceOption(f.NamespaceMode.NODE, f.NamespaceMode.NODE, f.NamespaceMode.NODE)
    shared = security(node.container(), shareProcessNamespace=True).namespace_options
    assert shared == f.NamespaceOption(pid=f.NamespaceMode.POD)


def test_the_containers_security_context_wins_over_the_pods() -> None:
    pods = {"runAsUser": 1, "runAsGroup": 2, "supplementalGroups": [3], "fsGroup": 4}
    own = security(node.container(securityContext={"runAsUser": 0}), securityContext=pods)
    assert own.run_as_user == f.Int64Value(0)
    assert own.run_as_group == f.Int64Value(2)
    assert own.supplemental_groups == (3, 4)


def test_privileges() -> None:
    tight = security(node.container(securityContext={
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "seccompProfile": {"type": "RuntimeDefault"},
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
    }))  # fmt: skip
    assert (tight.no_new_privs, tight.readonly_rootfs) == (True, True)
    assert tight.capabilities == f.Capability(("NET_ADMIN",), ("ALL",))
    assert tight.seccomp == f.SecurityProfile(f.ProfileType.RUNTIME_DEFAULT)
    plain = security(node.container())
    assert (plain.no_new_privs, plain.seccomp) == (False, None)
    assert "/proc/kcore" in plain.masked_paths
    assert security(node.container(securityContext={"privileged": True})).privileged


def test_host_ports() -> None:
    ports = [{"containerPort": 80, "hostPort": 8080, "protocol": "UDP", "hostIP": "127.0.0.1"}, {"containerPort": 81}]
    config = compose.sandbox(make(node.container(ports=ports)), 0, PLACE, "/logs", None)
    assert config.port_mappings == (f.PortMapping(1, 80, 8080, "127.0.0.1"),)


BIG = {"cpu": "1", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("asked", "qos", "adjustment"),
    [
        ({}, "BestEffort", 1000), ({"limits": BIG}, "Guaranteed", -997),
        ({"limits": BIG, "requests": BIG}, "Guaranteed", -997),
        ({"requests": {"memory": "1Gi"}}, "Burstable", 750), ({"requests": {"cpu": "1m"}}, "Burstable", 999),
        ({"limits": {"cpu": "1"}}, "Burstable", 999), ({"limits": {"cpu": "0"}}, "BestEffort", 1000),
    ],
)  # fmt: skip
def test_quality_of_service(asked: dict[str, Any], qos: str, adjustment: int) -> None:
    pod = make(node.container(resources=asked))
    assert resources.qos_class(pod) == qos
    given = resources.container_resources(pod, pod.spec.containers[0], 4 << 30, may_lower_oom=True)
    assert given.oom_score_adj == adjustment
    modest = resources.container_resources(pod, pod.spec.containers[0], 4 << 30, may_lower_oom=False)
    assert modest.oom_score_adj == max(0, adjustment)


def test_shares_quota_and_limits() -> None:
    pod = make(node.container(resources={"requests": {"cpu": "250m"}, "limits": {"cpu": 0.5, "memory": "64Mi"}}))
    given = resources.container_resources(pod, pod.spec.containers[0], 4 << 30, may_lower_oom=False)
    assert (given.cpu_shares, given.cpu_quota, given.cpu_period) == (256, 50_000, 100_000)
    assert given.memory_limit_in_bytes == 64 << 20
    assert resources.pod_limits(pod).quota == 50_000


def test_a_pod_has_a_limit_only_if_all_its_containers_have_one() -> None:
    obj = node.pod(containers=[node.container("a", resources={"limits": BIG}), node.container("b")])
    assert resources.pod_limits(view(Pod, msgspec.json.encode(obj))).memory == 0


def test_cgroups_are_below_our_own_root() -> None:
    assert compose.cgroup_parent(make(), PLACE) == "/octoedge/besteffort/poduid-web"
    guaranteed = make(node.container(resources={"limits": BIG}))
    assert compose.cgroup_parent(guaranteed, PLACE) == "/octoedge/poduid-web"
    slices = msgspec.structs.replace(PLACE, systemd_cgroups=True)
    assert compose.cgroup_parent(make(), slices) == "octoedge-besteffort-poduid_web.slice"


HOST = f.DNSConfig(("192.0.2.1",), ("example.com",), ("timeout:1",))
CLUSTER = hosts.ClusterDns(("169.254.96.16",))


@pytest.mark.parametrize(
    ("spec", "servers", "first_search"),
    [
        ({}, ("169.254.96.16",), "default.svc.cluster.local"),
        ({"dnsPolicy": "Default"}, ("192.0.2.1",), "example.com"),
        ({"hostNetwork": True}, ("192.0.2.1",), "example.com"),
        (
            {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"},
            ("169.254.96.16",),
            "default.svc.cluster.local",
        ),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["x"]}}, ("1.1.1.1",), "x"),
    ],
    ids=range(5),
)
def test_dns_policies(spec: dict[str, Any], servers: tuple[str, ...], first_search: str) -> None:
    config = hosts.dns_config(make(**spec), HOST, CLUSTER)
    assert config.servers == servers
    assert config.searches[0] == first_search


def test_dns_options_are_merged_and_without_cluster_dns_the_nodes_serve() -> None:
    config = hosts.dns_config(
        make(dnsConfig={"options": [{"name": "timeout", "value": "3"}]}), HOST, hosts.ClusterDns()
    )
    assert config == f.DNSConfig(("192.0.2.1",), ("example.com",), ("timeout:3",))


def test_a_resolver_file_is_read_as_the_system_does() -> None:
    text = "# x\nnameserver 1.1.1.1\nnameserver  2.2.2.2 # second\nsearch a b\noptions ndots:2 edns0\nnameserver\n"
    assert hosts.parse_resolv_conf(text) == f.DNSConfig(("1.1.1.1", "2.2.2.2"), ("a", "b"), ("ndots:2", "edns0"))


def test_hosts_files() -> None:
    own = hosts.hosts_file([], host_file=None, ip="10.0.0.2", name="web")
    assert own.endswith("10.0.0.2\tweb\n")
    pod = make(hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a", "b"]}])
    shared = hosts.hosts_file(pod.spec.host_aliases, host_file="127.0.0.1 localhost", ip="", name="web")
    assert shared.splitlines()[1] == "127.0.0.1 localhost"
    assert shared.endswith("1.2.3.4\ta\tb\n")


def test_the_apparmor_profile_is_the_containers_or_the_pods() -> None:
    own = {"appArmorProfile": {"type": "Localhost", "localhostProfile": "k8s-mine"}}
    obj = node.pod(
        securityContext={"appArmorProfile": {"type": "RuntimeDefault"}},
        containers=[node.container("a"), node.container("b", securityContext=own)],
    )
    pod = view(Pod, msgspec.json.encode(obj))
    found = [compose.apparmor_profile(pod, spec) for spec in pod.spec.containers]
    assert [(one.type, one.localhost_profile) for one in found if one is not None] == [
        ("RuntimeDefault", ""), ("Localhost", "k8s-mine"),
    ]  # fmt: skip
    parts = ContainerParts(0, "sha256:0", {}, (), "a/0.log")
    config = compose.container(pod, pod.spec.containers[1], parts, PLACE)
    assert config.linux is not None
    assert config.linux.security_context is not None
    profile = config.linux.security_context.apparmor
    assert profile == f.SecurityProfile(f.ProfileType.LOCALHOST, "k8s-mine")
