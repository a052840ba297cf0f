"""`octoedge node add|remove|list|disconnect|connect`: edge nodes that come and go, all on this machine.

What is about the names of nodes anywhere (`revoke`, `release`, `certificates`) is in `identity`.
"""

from __future__ import annotations

import argparse
import json
import os
import time

from octoedge.commands import identity
from octoedge.commands.asroot import ensure_root
from octoedge.commands.down import stop_pods
from octoedge.commands.prepare import stop_if
from octoedge.errors import InstallError
from octoedge.keadm import cluster, edgenode, layout, leaving, packages, partition, register
from octoedge.keadm.installation import bring_cloud_up, bring_node_up
from octoedge.keadm.layout import Layout
from octoedge.keadm.register import Register
from octoedge.keadm.running import READY
from octoedge.keadm.steps import Gone, advance, retreat
from octoedge.keadm.table import table
from octoedge.keadm.turns import turn

ACTIONS = {
    "add": "a further edge node, in a network namespace of its own; run again, it repairs",
    "remove": "let its pods end, take it out of the cluster, remove its data",
    "disconnect": "drop its packets to the cloud, both ways, until `connect`",
    "connect": "let its packets to the cloud pass again",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in ACTIONS.items():
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("name", metavar="NAME", help="the node's name")
    identity.add_arguments(actions)
    text = "the nodes of this installation"
    listing = actions.add_parser("list", help=text, description=text)
    listing.add_argument("-o", "--output", choices=("text", "json"), default="text", help="for a person, or a program")


def run(arguments: argparse.Namespace) -> int:
    if arguments.action in identity.ACTIONS:
        identity.run(arguments)
        return 0
    if arguments.action == "list":
        _list(_nodes(), arguments.output)
        return 0
    ensure_root()
    {"add": _add, "remove": _remove, "disconnect": _disconnect, "connect": _connect}[arguments.action](arguments.name)
    return 0


def _nodes() -> Register:
    known = layout.existing(os.environ)
    return register.load(known)


def _say(line: str) -> None:
    print(line, flush=True)


def _add(name: str) -> None:
    began = time.monotonic()
    with turn(_say):
        with packages.plan() as (plan, unobtainable):
            stop_if(unobtainable)
            if plan.missing:
                _say(f"installing {' '.join(plan.missing)} …")
                packages.install(plan)
        nodes = _nodes().added(name)
        node = nodes.node(name)
        _refuse_foreign(nodes.cloud, node)
        nodes.save()
        advance([*bring_cloud_up(nodes.cloud), *bring_node_up(nodes, node)], _say)
    _say(f"\n{name} is up at {node.address}, {time.monotonic() - began:.1f} s. Host ports of its pods are there.")


def _refuse_foreign(cloud: Layout, node: Layout) -> None:
    """A Node of that name which joined from elsewhere is not to be taken over."""
    if node.home.exists() or not cluster.is_ready(edgenode.admin(cloud)):
        return
    if node.node in cluster.cloud_health(cloud.ports.monitor).nodes:
        raise InstallError(f"a node {node.node} is connected already, from another machine; choose another name.")


def _remove(name: str) -> None:
    nodes = _nodes()
    node = nodes.node(name)
    if not node.namespace:
        raise InstallError(f"{name} is the node of this machine itself; it goes with `octoedge down --purge`.")
    admin = edgenode.admin(nodes.cloud)
    if not cluster.is_ready(admin):
        raise InstallError(f"the API server does not answer, so {name} cannot leave the cluster; `octoedge up` first.")
    _say(f"- {name}: its pods end")
    left = leaving.drain(admin, name, 0 if name in nodes.disconnected else leaving.PATIENCE)
    if left:
        _say(f"  {left} did not end in time; they are ended with the runtime")
    steps = edgenode.take_down(node, stop_pods, purge=True)
    steps.insert(-1, Gone(f"{name}: Node object", lambda: leaving.forget(admin, name)))
    steps.insert(0, Gone(f"{name}: data", lambda: edgenode.remove_data(node)))
    with turn(_say):
        retreat(steps, _say)
        _nodes().removed(name).save()
    _say(f"{name} is gone")


def _disconnect(name: str) -> None:
    node = _cut(name, off=True)
    what = "" if node.namespace else " of EdgeCore, which alone is told apart in this machine's network,"
    _say(f"{name}: all packets{what} to and from the cloud are dropped until `octoedge node connect {name}`")


def _connect(name: str) -> None:
    node = _cut(name, off=False)
    _say(f"{name}: packets pass again; EdgeCore dials at its next try, at the latest in half a minute …")
    _say(edgenode.await_ready(_nodes().cloud, node, READY))


def _cut(name: str, *, off: bool) -> Layout:
    """Noted first: `octoedge up` completes what was cut off half way."""
    with turn(_say):
        nodes = _nodes().cut(name, off=off)
        nodes.save()
        node = nodes.node(name)
        (partition.cut if off else partition.mend)(node)
    return node


def _list(nodes: Register, output: str) -> None:
    rows = [_row(nodes, node) for node in nodes.nodes()]
    if output == "json":
        print(json.dumps({"nodes": rows}, indent=1))
        return
    print(table(tuple(rows[0]), [tuple(row.values()) for row in rows]))


def _row(nodes: Register, node: Layout) -> dict[str, str]:
    """As far as the cloud answers."""
    try:
        state = cluster.node_state(nodes.cloud.kubeconfig, node.node)
        ready = "True" if state.ready else f"False ({state.why})"
        connected = node.node in cluster.cloud_health(nodes.cloud.ports.monitor).nodes
    except InstallError as problem:
        ready, connected = f"unknown ({problem})", False
    purpose = node.node in nodes.disconnected
    cloud = "disconnected on purpose" if purpose else "connected" if connected else "not connected"
    where = f"namespace {node.namespace}" if node.namespace else "this machine"
    return {"name": node.node, "where": where, "address": node.address or "127.0.0.1", "cloud": cloud, "ready": ready}
