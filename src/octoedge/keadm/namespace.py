"""The network namespace of a further node: an own loopback, an own pods' bridge, and a cable to this machine.

    this machine ── octol0 (bridge, .1) ── octo0n2 ═ eth0 (.2) ── namespace octoedge-n2 ── octo0 (bridge) ── pods

It is entered by setns or `nsenter --net`, never by `ip netns exec`, which hides the machine's cgroup mounts. In the
namespace, which is ours, forwarding is on; the machine's own settings stay as they are.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from octoedge.errors import InstallError
from octoedge.keadm import network
from octoedge.keadm.layout import Layout
from octoedge.keadm.processes import call

T = TypeVar("T")

NAMES = Path("/run/netns")
CABLE = "eth0"
CLONE_NEWNET = 0x40000000
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


def through(node: Layout) -> tuple[str, ...]:
    """The words before a command that is to run where the node lives."""
    return ("nsenter", f"--net={NAMES / node.namespace}", "--") if node.namespace else ()


def inside(node: Layout, ask: Callable[[], T]) -> T:
    """Call `ask` where the node lives: sockets that it opens are the namespace's. Raises `InstallError`."""
    if not node.namespace:
        return ask()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_enter_and, NAMES / node.namespace, ask).result()


def exists(node: Layout) -> bool:
    """Whether there is a namespace of that name, whole or not."""
    return os.path.ismount(NAMES / node.namespace)


def is_whole(node: Layout) -> bool:
    """Whether nothing of it is missing."""
    if not exists(node) or not _is_plugged_in(node):
        return False
    up = call(("ip", "-n", node.namespace, "-brief", "-4", "address", "show", "up")).split()
    routes = call(("ip", "-n", node.namespace, "route", "show", "default")).split()
    return (
        {f"{node.address}/24", f"{node.gateway}/24"} <= set(up)
        and node.links.gateway in routes
        and inside(node, FORWARD.read_text).strip() == "1"
        and network.has_rule(node, through(node))
    )


def make(node: Layout) -> None:
    """Make what is missing of it."""
    name, port = node.namespace, node.links.port(node.number)
    if not exists(node):
        call(("ip", "netns", "add", name))
    if not _has_port(node):
        call(("ip", "link", "add", port, "type", "veth", "peer", "name", CABLE, "netns", name))
    call(("ip", "link", "set", port, "master", node.links.bridge, "up"))
    _ip(node, "link", "set", "lo", "up")
    _ip(node, "address", "replace", f"{node.address}/24", "dev", CABLE)
    _ip(node, "link", "set", CABLE, "up")
    _ip(node, "route", "replace", "default", "via", node.links.gateway)
    if node.bridge not in call(("ip", "-n", name, "-brief", "link", "show")).split():
        _ip(node, "link", "add", node.bridge, "type", "bridge")
    _ip(node, "address", "replace", f"{node.gateway}/24", "dev", node.bridge)
    _ip(node, "link", "set", node.bridge, "up")
    inside(node, lambda: FORWARD.write_text("1"))
    if not network.has_rule(node, through(node)):
        network.add_rule(node, through(node))


def remove(node: Layout) -> None:
    """Take it away; what still runs in it would go on in a namespace without a name, so end that before."""
    if _has_port(node):
        call(("ip", "link", "delete", node.links.port(node.number)))
    if exists(node):
        call(("ip", "netns", "delete", node.namespace))


def _ip(node: Layout, *words: str) -> None:
    call(("ip", "-n", node.namespace, *words))


def _has_port(node: Layout) -> bool:
    return Path("/sys/class/net", node.links.port(node.number)).exists()


def _is_plugged_in(node: Layout) -> bool:
    master = Path("/sys/class/net", node.links.port(node.number), "master")
    return master.is_symlink() and master.resolve().name == node.links.bridge


def _enter_and(name: Path, ask: Callable[[], T]) -> T:
    """In a thread of its own, which ends afterwards: a namespace is a property of the thread."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as problem:
        raise InstallError(f"the network namespace {name} cannot be opened: {problem.strerror}") from problem
    try:
        if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET) != 0:
            words = os.strerror(ctypes.get_errno())
            raise InstallError(f"the network namespace {name} cannot be entered: {words}; root may.")
    finally:
        os.close(handle)
    return ask()
