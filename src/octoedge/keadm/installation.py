"""A cloud and edge nodes on this machine, as steps: each looks, does, and can be taken back.

    folders → apiserver → kubeconfig → cloudcore.yaml → cloudcore → the first node → every further node

Going down takes the same things back, nodes before the cloud.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from octoedge.errors import InstallError
from octoedge.keadm import cluster, configfiles, edgenode, leftovers, network, register, sample
from octoedge.keadm.credentials import kubeconfig_is_current, write_kubeconfig
from octoedge.keadm.daemons import of_cloud
from octoedge.keadm.edgenode import Bridge, StopPods, admin
from octoedge.keadm.files import write
from octoedge.keadm.layout import Layout
from octoedge.keadm.register import Register
from octoedge.keadm.running import GRACE, Running
from octoedge.keadm.steps import Gone, Step, Written


def bring_up(nodes: Register) -> list[Step]:
    """The steps that lead to Ready nodes; one that is disconnected on purpose stays so."""
    steps = bring_cloud_up(nodes.cloud)
    for node in nodes.nodes():
        steps += bring_node_up(nodes, node)
    return [*steps, *sample.keep_up(nodes.cloud)]


def bring_node_up(nodes: Register, node: Layout) -> list[Step]:
    """The steps of one node; its cloud is up."""
    return edgenode.bring_up(nodes.cloud, node, cut=node.node in nodes.disconnected)


def bring_cloud_up(layout: Layout) -> list[Step]:
    """The steps that lead to a cloud which nodes can join."""
    run = of_cloud(layout)
    return [
        Written("folders", lambda: _folders_exist(layout), lambda: _make_folders(layout)),
        Written("settings", layout.is_saved, lambda: _save_settings(layout)),
        Running("API server", run["apiserver"], lambda: cluster.is_ready(admin(layout))),
        Written("kubeconfig", lambda: kubeconfig_is_current(layout), lambda: write_kubeconfig(layout)),
        Written("cloudcore.yaml", lambda: _names_all_addresses(layout), lambda: _write_cloud_config(layout)),
        Running("CloudCore", run["cloudcore"], lambda: _cloud_is_ready(layout), layout.cloudcore_file, _read),
    ]


def take_down(nodes: Register, stop_pods: StopPods, purge: bool) -> list[Step]:
    """The same things as steps to be undone, last first: nothing of ours is left running, mounted or in the network."""
    run = of_cloud(nodes.cloud)
    steps: list[Step] = [
        Bridge(nodes.cloud.links, "network between the nodes"),
        Gone("API server", lambda: run["apiserver"].stop(GRACE)),
        Gone("CloudCore", lambda: run["cloudcore"].stop(GRACE)),
    ]
    for node in nodes.nodes():
        steps += edgenode.take_down(node, stop_pods, purge)
    return [*steps, sample.take_down(nodes.cloud)]


def _folders(layout: Layout) -> dict[Path, int]:
    return {**edgenode.folders(layout), layout.cloud: 0o700}


def _folders_exist(layout: Layout) -> bool:
    return all(folder.is_dir() for folder in _folders(layout))


def _make_folders(layout: Layout) -> str:
    edgenode.make_folders(_folders(layout))
    return str(layout.home)


def _save_settings(layout: Layout) -> str:
    """Of what can change, the API server alone is told, by a flag: it is stopped, to start with the new one."""
    of_cloud(layout)["apiserver"].stop(GRACE)
    layout.save()
    return str(layout.settings)


def _addresses(layout: Layout) -> list[str]:
    """By which nodes may reach this machine: elsewhere, and in namespaces here."""
    return [*network.addresses(), layout.links.gateway]


def _names_all_addresses(layout: Layout) -> bool:
    file = layout.cloudcore_file
    return file.exists() and not configfiles.missing_addresses(file.read_text(), _addresses(layout))


def _write_cloud_config(layout: Layout) -> str:
    """The first time all of it; later only addresses, and CloudCore is stopped, to start with a new certificate."""
    file = layout.cloudcore_file
    if not file.exists():
        return write(file, configfiles.cloudcore(layout, _addresses(layout)))
    text = file.read_text()
    missing = configfiles.missing_addresses(text, _addresses(layout))
    write(file, configfiles.add_addresses(text, missing))
    of_cloud(layout)["cloudcore"].stop(GRACE)
    return f"{file}: new addresses {', '.join(missing)}"


def _read(file: Path) -> object:
    """cloudcore.yaml as CloudCore reads it. Raises `ConfigError`."""
    from octoedge.api.config.load import load_cloudcore  # only when it has changed

    return load_cloudcore(file)


def _cloud_is_ready(layout: Layout) -> bool:
    try:
        return cluster.cloud_health(layout.ports.monitor).ok and bool(cluster.join_token(admin(layout)))
    except InstallError:
        return False


def remove_data(layout: Layout) -> None:
    """Delete what the installation wrote; whatever else lies in its home stays, and then the home does too."""
    for path in _data(layout):
        leftovers.remove(path)
    with contextlib.suppress(OSError):
        layout.home.rmdir()


def _data(layout: Layout) -> tuple[Path, ...]:
    # The settings come last: until then, a purge that was interrupted can be repeated.
    nodes = layout.home / "nodes", register.file(layout), sample.file(layout)
    return *edgenode.data(layout), layout.cloud, *nodes, layout.kubeconfig, layout.settings
