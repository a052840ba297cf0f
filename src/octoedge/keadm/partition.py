"""A node without its cloud: packets between the two are dropped, both ways, and nobody is told (no FIN, no RST).

A further node is cut off where its cable enters its namespace: everything between it (its pods too) and the cloud's
ports, the API server's included, at whatever address: the machine has many, and routes to pods lead to more. The first
node shares the machine's network with the cloud; there only what goes over the loopback from or to CloudCore's ports
for edges (hub, certificates, tunnel) is dropped, which EdgeCore alone uses.
"""

from __future__ import annotations

from octoedge.keadm import namespace, network
from octoedge.keadm.layout import Layout
from octoedge.keadm.network import Rule


def is_cut(node: Layout) -> bool:
    """Whether every packet between the node and the cloud is dropped."""
    return all(network.has(rule, namespace.through(node)) for rule in rules(node))


def is_whole(node: Layout) -> bool:
    """Whether none is."""
    return not any(network.has(rule, namespace.through(node)) for rule in rules(node))


def cut(node: Layout) -> None:
    """Drop them from now on."""
    through = namespace.through(node)
    for rule in rules(node):
        if not network.has(rule, through):
            network.iptables("-A", rule, through)


def mend(node: Layout) -> None:
    """Let them pass again."""
    if node.namespace and not namespace.exists(node):
        return
    for rule in rules(node):
        network.remove(rule, namespace.through(node))


def rules(node: Layout) -> list[Rule]:
    """Before routing on the way in, after it on the way out: what is forwarded to pods is met too."""
    ports = node.ports
    edge = (ports.cloudhub, ports.certificates, ports.tunnel)
    if not node.namespace:
        lo = ("-i", "lo", "-s", "127.0.0.1", "-p", "tcp")
        ways = [Rule("mangle", "PREROUTING", (*lo, side)) for side in ("--sport", "--dport")]
        return [_drop(node, way, port) for way in ways for port in edge]
    come = Rule("mangle", "PREROUTING", ("-i", namespace.CABLE, "-p", "tcp", "--sport"))
    go = Rule("mangle", "POSTROUTING", ("-o", namespace.CABLE, "-p", "tcp", "--dport"))
    return [_drop(node, way, port) for way in (come, go) for port in (*edge, ports.stream, ports.apiserver)]


def _drop(node: Layout, way: Rule, port: int) -> Rule:
    return Rule(way.table, way.chain, (*way.words, str(port), *network.mark(node.home), "-j", "DROP"))
