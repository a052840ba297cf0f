"""How an installation is: every part asked in the order in which one depends on the other, and the first broken link.

    apiserver ─► cloudcore ─► for each node: runtime, broker ─► edgecore ─► channel ─► node Ready ─► the sample's device

Nothing is changed, and nobody is waited for longer than a few seconds.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from octoedge.errors import InstallError
from octoedge.keadm import broker, cluster, containerd, edgehealth, namespace, sample
from octoedge.keadm.daemons import of_cloud, of_node
from octoedge.keadm.layout import Layout
from octoedge.keadm.processes import Daemon, working_below
from octoedge.keadm.register import Register

_ROOM = 8 << 20
"""Bytes that stores and logs need to go on for a while; with less, writes fail that others rely on."""


@dataclass(frozen=True, slots=True)
class Link:
    """One thing that has to be as it should; `label` is what a person calls it."""

    label: str
    component: str
    ok: bool
    detail: str
    node: str = ""
    """Which further node it is about; empty for the cloud and the first node."""


@dataclass(frozen=True, slots=True)
class Component:
    """A daemon with all that is known of it, as `octoedge status -o json` prints it."""

    name: str
    node: str | None
    pid: int | None
    ok: bool
    detail: str


def links(nodes: Register) -> list[Link]:
    """Everything that has to hold, what others depend on first."""
    layout = nodes.cloud
    run = of_cloud(layout)
    found = [
        _link("API server", run["apiserver"], lambda: _api(layout)),
        _link("CloudCore", run["cloudcore"], lambda: _cloud(layout)),
    ]
    for node in nodes.nodes():
        cut = node.node in nodes.disconnected
        name = node.node if node.namespace else ""
        found += (replace(link, node=name) for link in _node_links(layout, node, cut=cut))
    device = sample.device(layout)
    return found if device is None else [*found, _link("thermometer", device, lambda: (True, f"pid {device.pid()}"))]


def deserted(home: Path) -> str:
    """What to say where the settings are gone and processes still run, as after `rm -rf`; empty where none do."""
    pids = " ".join(map(str, working_below(home)))
    return pids and (
        f"{home} was deleted while what was set up there ran; it still does. End it with `kill -9 {pids}`; the next"
        " start of the machine takes away its mounts and network."
    )


def _node_links(cloud: Layout, node: Layout, *, cut: bool) -> list[Link]:
    run = of_node(node)
    return [
        _link("runtime", run["containerd"], lambda: _runtime(node)),
        _broker(node, run["mosquitto"]),
        _link("EdgeCore", run["edgecore"], lambda: (True, _edgecore(node, run["edgecore"]))),
        _asked("channel", lambda: _channel(cloud, node, cut=cut)),
        _asked("node", lambda: _node(cloud, node)),
    ]


def components(nodes: Register, found: list[Link]) -> list[Component]:
    """The links put together by daemon."""
    cloud = [_component(daemon, None, "", found) for daemon in of_cloud(nodes.cloud).values()]
    edges = [
        _component(daemon, node.node, node.node if node.namespace else "", found)
        for node in nodes.nodes()
        for daemon in of_node(node).values()
    ]
    device = sample.device(nodes.cloud)
    return [*cloud, *edges, *([] if device is None else [_component(device, nodes.cloud.node, "", found)])]


def _component(daemon: Daemon, node: str | None, link_node: str, found: list[Link]) -> Component:
    mine = [link for link in found if (link.component, link.node) == (daemon.name, link_node)]
    broken = next((link for link in mine if not link.ok), None)
    detail = broken.detail if broken else "; ".join(link.detail for link in mine)
    return Component(daemon.name, node, daemon.pid(), broken is None, detail)


def first_broken(found: list[Link]) -> Link | None:
    """What to see to first; the rest may only be its consequence."""
    return next((link for link in found if not link.ok), None)


def _link(label: str, daemon: Daemon, ask: Callable[[], tuple[bool, str]]) -> Link:
    if daemon.pid() is None:
        known = daemon.pidfile.exists()
        words = "it has died" if known else "it was not started"
        return Link(label, daemon.name, ok=False, detail=f"{words}; log {daemon.log}; `octoedge up` starts it")
    return Link(label, daemon.name, *_guarded(ask))


def _asked(label: str, ask: Callable[[], tuple[bool, str]]) -> Link:
    return Link(label, "edgecore", *_guarded(ask))


def _guarded(ask: Callable[[], tuple[bool, str]]) -> tuple[bool, str]:
    try:
        return ask()
    except InstallError as problem:
        return False, str(problem)


def _api(layout: Layout) -> tuple[bool, str]:
    server = cluster.api_server(layout.kubeconfig)
    status, _ = server.read("/readyz")
    if status != 200:
        return False, f"{server.url('/readyz')} answers {status}"
    full = full_disk(layout)
    return not full, full or server.url("")


def full_disk(layout: Layout, needed: int = _ROOM) -> str:
    """What is wrong with the disk of the data; empty when there is room on it."""
    free = shutil.disk_usage(layout.home).free
    return "" if free >= needed else f"the disk of {layout.home} is full, nothing more is stored; make room on it"


def _cloud(layout: Layout) -> tuple[bool, str]:
    health = cluster.cloud_health(layout.ports.monitor)
    if not health.ok:
        return False, health.detail or "it says that it is not well; see its log"
    return True, f"wss port {layout.ports.cloudhub}, {len(health.nodes)} connected"


def _runtime(layout: Layout) -> tuple[bool, str]:
    socket = layout.runtime_socket
    if os.geteuid() != 0:
        return True, f"{socket}; only root may ask it"
    return (True, str(socket)) if containerd.answers(layout) else (False, f"nobody answers on {socket}")


def _broker(node: Layout, daemon: Daemon) -> Link:
    """One that is there without us is as good."""
    port = node.ports.mqtt
    if node.namespace and os.geteuid() != 0:
        return _link("broker", daemon, lambda: (True, f"in namespace {node.namespace}; only root may ask it"))
    if _guarded(lambda: (namespace.inside(node, lambda: broker.answers(port)), ""))[0]:
        whose = "" if daemon.pid() else ", one that was there already"
        who = edgehealth.some(broker.clients(daemon.log)) if daemon.pid() else ""
        return Link("broker", daemon.name, ok=True, detail=f"mqtt://127.0.0.1:{port}{whose or who}")
    return _link("broker", daemon, lambda: (False, f"no MQTT answer on 127.0.0.1:{port}; log {daemon.log}"))


def _edgecore(node: Layout, daemon: Daemon) -> str:
    """What it says of devices and of names too, when this user may ask it."""
    try:
        health = edgehealth.ask(node.edge / "edgecore.sock")
        told = "; ".join(filter(None, (edgehealth.about_devices(health), edgehealth.about_names(health))))
    except InstallError:
        told = ""
    return f"pid {daemon.pid()}" + (f"; {told}" if told else "")


def _channel(cloud: Layout, node: Layout, *, cut: bool) -> tuple[bool, str]:
    if cut:
        return False, f"disconnected on purpose; `octoedge node connect {node.node}` connects it again"
    if node.node in cluster.cloud_health(cloud.ports.monitor).nodes:
        return True, f"wss://{node.cloud_address}:{node.ports.cloudhub}"
    return False, f"{node.node} is not connected to CloudCore; log {node.logs / 'edgecore.log'}"


def _node(cloud: Layout, node: Layout) -> tuple[bool, str]:
    state = cluster.node_state(cloud.kubeconfig, node.node)
    short = f"; {', '.join(state.pressure)}: new pods stay away" if state.pressure else ""
    return (True, f"{node.node} Ready, {state.version}{short}") if state.ready else (False, f"{node.node}: {state.why}")
