"""/etc/hosts and resolv.conf of pods, as the kubelet writes them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from octoedge.api.core import DnsConfig, HostAlias, Pod
from octoedge.edge.edged.cri.fields import DNSConfig

_MAX_SERVERS, _MAX_SEARCHES = 3, 32


class ClusterDns(msgspec.Struct, frozen=True):
    """Where cluster names are resolved; no servers: nowhere."""

    servers: tuple[str, ...] = ()
    domain: str = "cluster.local"


def hosts_file(aliases: Sequence[HostAlias], *, host_file: str | None, ip: str, name: str, fqdn: str = "") -> str:
    """/etc/hosts; `host_file` is the node's own for a pod in the host's network."""
    if host_file is not None:
        text = f"# Kubernetes-managed hosts file (host network).\n{host_file}"
        text += "" if text.endswith("\n") else "\n"
    else:
        own = f"{ip}\t{fqdn}\t{name}\n" if fqdn else f"{ip}\t{name}\n"
        text = (
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"
            "::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\n"
            "fe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n" + (own if ip else "")
        )
    if aliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join(f"{alias.ip}\t{chr(9).join(alias.hostnames)}\n" for alias in aliases)
    return text


def dns_config(pod: Pod, host: DNSConfig, cluster: ClusterDns) -> DNSConfig:
    """resolv.conf of a pod by its dnsPolicy; without cluster DNS a ClusterFirst pod uses the node's."""
    chosen = {"None": DNSConfig()}.get(pod.spec.dns_policy, host)
    if wants_cluster_dns(pod) and cluster.servers:
        chosen = _cluster(pod, host, cluster)
    if pod.spec.dns_config is not None:
        chosen = _merged(chosen, pod.spec.dns_config)
    return DNSConfig(chosen.servers[:_MAX_SERVERS], chosen.searches[:_MAX_SEARCHES], chosen.options)


def wants_cluster_dns(pod: Pod) -> bool:
    """Whether the pod asks for cluster names."""
    policy = pod.spec.dns_policy
    return policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not pod.spec.host_network)


def parse_resolv_conf(text: str) -> DNSConfig:
    """What a resolv.conf says."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        word, *rest = line.split("#", 1)[0].split(";", 1)[0].split() or [""]
        if word == "nameserver" and rest:
            servers.append(rest[0])
        elif word in ("search", "domain"):
            searches = rest
        elif word == "options":
            options = rest
    return DNSConfig(tuple(servers), tuple(searches), tuple(options))


def _cluster(pod: Pod, host: DNSConfig, cluster: ClusterDns) -> DNSConfig:
    domain = cluster.domain
    searches = (f"{pod.metadata.namespace}.svc.{domain}", f"svc.{domain}", domain) if domain else ()
    return DNSConfig(cluster.servers, tuple(dict.fromkeys((*searches, *host.searches))), ("ndots:5",))


def _merged(base: DNSConfig, own: DnsConfig) -> DNSConfig:
    options = {option.split(":", 1)[0]: option for option in base.options}
    for option in own.options:
        options[option.name] = option.name if option.value is None else f"{option.name}:{option.value}"
    return DNSConfig(
        tuple(dict.fromkeys((*base.servers, *own.nameservers))),
        tuple(dict.fromkeys((*base.searches, *own.searches))),
        tuple(options.values()),
    )
