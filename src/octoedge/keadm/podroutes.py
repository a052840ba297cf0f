"""The way between pods of this machine's nodes: each node's pods have a subnet, and a route leads there by its node.

    the machine ── pods of n2 ── via n2 ──► n2 ── pods of n3 ── via n3 ──► n3

The machine's own pods are reached by the default route of the further nodes. Between those and the machine's the kernel
must forward (`net.ipv4.ip_forward`); among themselves the further nodes need nothing. A network that the machine knows
already is never taken away from it: then there is no route to those pods.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from dataclasses import replace

from octoedge.errors import InstallError
from octoedge.keadm import namespace
from octoedge.keadm.layout import Layout
from octoedge.keadm.processes import call

_HERE = ""
"""The machine's own network, as a namespace's name."""


def are_there(node: Layout) -> bool:
    """Whether every route from and to a further node's pods is there."""
    return all(_leads(table, to) for table, to in _wanted(node))


def make(node: Layout) -> None:
    """Make what is missing."""
    for table, to in _wanted(node):
        if not _leads(table, to):
            call((*_ip(table), "route", "replace", to.subnet, "via", to.address))


def remove(node: Layout) -> None:
    """Take away what leads to a node that goes; its own routes go with it."""
    for table in (_HERE, *(peer.namespace for peer in _peers(node))):
        if _leads(table, node):
            with contextlib.suppress(InstallError):  # the other one may go at the same time
                call((*_ip(table), "route", "delete", node.subnet, "via", node.address))


def is_taken(routes: str, node: Layout) -> bool:
    """Whether `ip route show` knows the pods' subnet, or a part of it, by another way than the node."""
    subnet = ipaddress.IPv4Network(node.subnet)
    return any(
        network.prefixlen and network.overlaps(subnet) and not _is_way(line, node)
        for line in routes.splitlines()
        if (network := _network(line)) is not None
    )


def _wanted(node: Layout) -> list[tuple[str, Layout]]:
    """Namespace in which a route belongs, and the node that it leads to."""
    peers = _peers(node)
    here = [] if is_taken(_routes(_HERE), node) else [(_HERE, node)]
    return here + [(peer.namespace, node) for peer in peers] + [(node.namespace, peer) for peer in peers]


def _peers(node: Layout) -> list[Layout]:
    """The other further nodes of the installation whose cable is plugged in."""
    name = re.compile(re.escape(node.namespace.removesuffix(str(node.number))) + r"(\d+)")
    if not namespace.NAMES.is_dir():
        return []
    numbers = [int(found[1]) for one in namespace.NAMES.iterdir() if (found := name.fullmatch(one.name))]
    peers = [replace(node, number=number) for number in sorted(numbers) if number not in (1, node.number)]
    return [peer for peer in peers if peer.links.subnet in _routes(peer.namespace)]


def _leads(table: str, to: Layout) -> bool:
    return any(line.split()[:1] == [to.subnet] and _is_way(line, to) for line in _routes(table).splitlines())


def _is_way(line: str, to: Layout) -> bool:
    return f"via {to.address} " in f"{line} "


def _network(line: str) -> ipaddress.IPv4Network | None:
    """Where a route leads; a word before it says of what kind it is."""
    for word in line.split()[:2]:
        with contextlib.suppress(ValueError):
            return ipaddress.IPv4Network(word)
    return None


def _routes(table: str) -> str:
    try:
        return call((*_ip(table), "-4", "route", "show"))
    except InstallError:
        return ""  # a namespace that is just going away


def _ip(table: str) -> tuple[str, ...]:
    return ("ip", "-n", table) if table else ("ip",)
