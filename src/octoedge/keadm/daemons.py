"""Everything that an installation runs, by name; used before Python packages are there, so standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from octoedge.keadm import broker, containerd, namespace, network
from octoedge.keadm.host import Listener, Problem, check_ports, check_space, check_system, holder, is_free
from octoedge.keadm.layout import Layout
from octoedge.keadm.processes import Daemon, program


def daemons(layout: Layout) -> dict[str, Daemon]:
    """The cloud and the first node: everything that runs, by name, in the order of its start."""
    return {**of_cloud(layout), **of_node(layout)}


def of_cloud(layout: Layout) -> dict[str, Daemon]:
    """What runs in the cloud."""
    found = (
        _own(layout, "apiserver", _apiserver_command(layout)),
        _own(layout, "cloudcore", (program("cloudcore"), "--config", str(layout.cloudcore_file))),
    )
    return {daemon.name: daemon for daemon in found}


def of_node(node: Layout) -> dict[str, Daemon]:
    """What runs on one node, in its network namespace if it has one."""
    found = (
        containerd.daemon(node),
        broker.daemon(node),
        _own(node, "edgecore", (program("edgecore"), "--config", str(node.edgecore_file))),
    )
    return {daemon.name: replace(daemon, through=namespace.through(node)) for daemon in found}


def problems(layout: Layout) -> list[Problem]:
    """All that keeps the installation from going on; changes nothing."""
    broken = check_system()
    if broken:
        return broken
    running = [name for name, daemon in daemons(layout).items() if daemon.pid()]
    return [*check_space(layout), *check_ports(layout, running), *_check_broker(layout, running)]


def _check_broker(layout: Layout, running: list[str]) -> Iterator[Problem]:
    """The MQTT port may be held by a broker that lets us in, and by nothing else."""
    port = layout.ports.mqtt
    if "mosquitto" in running or is_free(Listener(port, "mosquitto", "127.0.0.1")) or broker.answers(port):
        return
    yield Problem(
        f"port {port} is taken{holder(port)}, by something that is no MQTT broker open to this machine",
        "stop it, let it accept clients from 127.0.0.1 without a password, or shift all ports:"
        " `octoedge up --port-offset 1000`",
    )


def _own(layout: Layout, name: str, command: tuple[str, ...]) -> Daemon:
    return Daemon(name, command, layout.run, layout.logs)


def _apiserver_command(layout: Layout) -> tuple[str, ...]:
    # The loopback first: it stands in the kubeconfigs, and does not change when the machine gets another address.
    addresses = ("127.0.0.1", *network.addresses(), layout.links.gateway)
    advertised = [part for address in addresses for part in ("--advertise-address", address)]
    return (
        program("octoedge"), "apiserver",
        "--data-dir", str(layout.apiserver_data),
        "--listen", f"0.0.0.0:{layout.ports.apiserver}",
        *advertised,
        "--kubelet-endpoint", f"https://127.0.0.1:{layout.ports.stream}",
        "--node-monitor-grace-period", f"{layout.node_grace:g}",
    )  # fmt: skip
