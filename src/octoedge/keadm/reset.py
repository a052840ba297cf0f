"""`keadm reset`: what `keadm join` or `keadm init` brought goes again, and nothing else.

edge:  EdgeCore → its pods, through the runtime → mounts and cgroups → folders
cloud: CloudCore → embedded API, or the namespace kubeedge of another → folders
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from octoedge.api.config.edgecore import EdgeCoreConfig
from octoedge.api.config.load import load_cloudcore, load_edgecore
from octoedge.errors import ConfigError, InstallError
from octoedge.keadm import cluster, leftovers, system
from octoedge.keadm.steps import Gone, Step
from octoedge.keadm.system import Root
from octoedge.runtime import dummy

EndPods = Callable[[str, str], None]
"""Ends and removes the pods of one node, by the runtime's endpoint and the node's name."""


@dataclass(frozen=True, slots=True)
class Node:
    """What has to be known of a node to take it away."""

    name: str
    runtime: str
    folders: tuple[Path, ...]
    cgroup_root: str
    """Empty: the node shares one with others, and nothing is taken from them."""


def installed_node(root: Root, runtime: str) -> Node:
    """As its edgecore.yaml says; without one, as KubeEdge's defaults do. `runtime` goes before the file."""
    try:
        config = load_edgecore(root.edgecore_file)
    except ConfigError:
        return Node("", runtime, (root.under("/var/lib/kubelet"), root.under("/var/lib/edged")), "")
    return _node(config, root, runtime)


def _node(config: EdgeCoreConfig, root: Root, runtime: str) -> Node:
    edged = config.modules.edged
    kubelet = edged.tailored_kubelet_config
    return Node(
        edged.hostname_override,
        runtime or kubelet.container_runtime_endpoint,
        (Path(edged.root_directory), root.under("/var/lib/edged"), *_logs(root, Path(kubelet.pod_logs_dir))),
        kubelet.cgroup_root,
    )


def _logs(root: Root, folder: Path) -> tuple[Path, ...]:
    """Pods' logs below a root of its own; the machine's /var/log/pods stays, as KubeEdge leaves it."""
    return () if root.is_system or not folder.is_relative_to(root.prefix) else (folder,)


def edge(root: Root, node: Node, end_pods: EndPods) -> list[Step]:
    """Steps to be undone, last first."""
    folders = (*node.folders, root.log, root.lib, root.run, root.etc)
    return [
        Gone("folders", lambda: _remove(folders)),
        Gone("mounts and cgroups", lambda: _remove_leftovers(node)),
        Gone("MetaServer's address", lambda: _remove_address(root)),
        Gone("pods", lambda: end_pods(node.runtime, node.name) if node.name else None),
        Gone("EdgeCore", system.edgecore(root).stop),
    ]


def other_kubernetes(root: Root) -> Path | None:
    """The kubeconfig of a Kubernetes that was there before; None for the embedded API."""
    try:
        used = Path(load_cloudcore(root.cloudcore_file).kube_api_config.kube_config)
    except ConfigError:
        return None
    return None if used.is_relative_to(root.lib) else used


def cloud(root: Root, kubeconfig: Path | None) -> list[Step]:
    """Steps to be undone, last first."""
    apiserver = system.apiserver(root)
    return [
        Gone("folders", lambda: _remove((root.log, root.lib, root.run, root.etc))),
        Gone("API server", apiserver.stop),
        Gone("namespace kubeedge", lambda: _remove_namespace(kubeconfig)),
        Gone("CloudCore", system.cloudcore(root).stop),
    ]


def _remove_namespace(kubeconfig: Path | None) -> None:
    """Of a Kubernetes that stays; the embedded one goes with all its data."""
    if kubeconfig is None:
        return
    try:
        cluster.api_server(kubeconfig).change("DELETE", "/api/v1/namespaces/kubeedge", None)
    except InstallError as problem:
        raise InstallError(f"the namespace kubeedge could not be deleted: {problem}") from problem


def _remove_address(root: Root) -> None:
    """The interface of the machine's own node; nodes below another root share it."""
    if root.is_system:
        dummy.remove()


def _remove_leftovers(node: Node) -> None:
    for folder in node.folders:
        leftovers.unmount_below(folder)
    if node.cgroup_root:
        leftovers.remove_cgroups(node.cgroup_root)


def _remove(folders: tuple[Path, ...]) -> None:
    for folder in folders:
        leftovers.remove(folder)
