"""How an installation is: every part asked in the order in which one depends on the other, and the first broken link.

    apiserver ─► cloudcore ─► runtime, broker ─► edgecore ─► channel ─► node Ready

Nothing is changed, and nobody is waited for longer than a few seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from octoedge.errors import InstallError
from octoedge.keadm import broker, cluster, containerd
from octoedge.keadm.daemons import daemons
from octoedge.keadm.layout import Layout
from octoedge.keadm.processes import Daemon


@dataclass(frozen=True, slots=True)
class Link:
    """One thing that has to be as it should; `label` is what a person calls it."""

    label: str
    component: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Component:
    """A daemon with all that is known of it, as `octoedge status -o json` prints it."""

    name: str
    node: str | None
    pid: int | None
    ok: bool
    detail: str


def links(layout: Layout) -> list[Link]:
    """Everything that has to hold, what others depend on first."""
    run = daemons(layout)
    return [
        _link("API server", run["apiserver"], lambda: _api(layout)),
        _link("CloudCore", run["cloudcore"], lambda: _cloud(layout)),
        _link("runtime", run["containerd"], lambda: _runtime(layout)),
        _broker(layout, run["mosquitto"]),
        _link("EdgeCore", run["edgecore"], lambda: (True, f"pid {run['edgecore'].pid()}")),
        _asked("channel", lambda: _channel(layout)),
        _asked("node", lambda: _node(layout)),
    ]


def components(layout: Layout, found: list[Link]) -> list[Component]:
    """The links put together by daemon."""
    result = []
    for name, daemon in daemons(layout).items():
        mine = [link for link in found if link.component == name]
        broken = next((link for link in mine if not link.ok), None)
        detail = broken.detail if broken else "; ".join(link.detail for link in mine)
        node = layout.node if name in ("containerd", "mosquitto", "edgecore") else None
        result.append(Component(name, node, daemon.pid(), broken is None, detail))
    return result


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
    return status == 200, server.url("") if status == 200 else f"{server.url('/readyz')} answers {status}"


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


def _broker(layout: Layout, daemon: Daemon) -> Link:
    """One that is there without us is as good."""
    port = layout.ports.mqtt
    if broker.answers(port):
        whose = "" if daemon.pid() else ", one that was there already"
        return Link("broker", daemon.name, ok=True, detail=f"mqtt://127.0.0.1:{port}{whose}")
    return _link("broker", daemon, lambda: (False, f"no MQTT answer on 127.0.0.1:{port}; log {daemon.log}"))


def _channel(layout: Layout) -> tuple[bool, str]:
    connected = layout.node in cluster.cloud_health(layout.ports.monitor).nodes
    if connected:
        return True, f"wss://127.0.0.1:{layout.ports.cloudhub}"
    return False, f"{layout.node} is not connected to CloudCore; log {layout.logs / 'edgecore.log'}"


def _node(layout: Layout) -> tuple[bool, str]:
    state = cluster.node_state(layout.kubeconfig, layout.node)
    return (True, f"{layout.node} Ready, {state.version}") if state.ready else (False, f"{layout.node}: {state.why}")
