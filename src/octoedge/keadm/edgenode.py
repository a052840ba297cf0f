"""One edge node on this machine, as steps: the first one in the machine's own network, a further one in a namespace.

folders → network or namespace → way to the cloud → containerd → images → broker → edgecore → node Ready
                                                                             ▲ join token of the cloud
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from octoedge.errors import InstallError
from octoedge.keadm import (
    broker,
    cluster,
    configfiles,
    containerd,
    image,
    leftovers,
    namespace,
    network,
    partition,
    podroutes,
)
from octoedge.keadm.daemons import of_node
from octoedge.keadm.files import write
from octoedge.keadm.layout import Layout
from octoedge.keadm.network import Wire
from octoedge.keadm.processes import Daemon, find_by_arguments, kill_leftovers
from octoedge.keadm.running import GRACE, READY, Running
from octoedge.keadm.steps import Gone, Step, Written

StopPods = Callable[[Layout, bool], None]
"""Ends every pod of the runtime; with True also removes them."""


def bring_up(cloud: Layout, node: Layout, *, cut: bool) -> list[Step]:
    """The steps that lead to a Ready node, or with `cut` to one that runs without its cloud."""
    run = of_node(node)
    name = f"{node.node}: " if node.namespace else ""
    steps: list[Step] = [
        *_wiring(node),
        Written(f"{name}way to the cloud", lambda: _is_as_wished(node, cut), lambda: _cut_or_mend(node, cut)),
        Written(f"{name}containerd's files", lambda: _runtime_files(node), lambda: _write_runtime_files(node)),
        Running(f"{name}container runtime", run["containerd"], lambda: containerd.answers(node)),
        Written(f"{name}images", lambda: _images_exist(node), lambda: _import_images(node)),
        Broker(node, run["mosquitto"], f"{name}MQTT broker"),
        Written(
            f"{name}edgecore.yaml",
            node.edgecore_file.exists,
            lambda: write(node.edgecore_file, configfiles.edgecore(node, cluster.join_token(admin(cloud)))),
        ),
        Running(
            f"{name}EdgeCore", run["edgecore"], lambda: run["edgecore"].pid() is not None, node.edgecore_file, _read
        ),
    ]
    if cut:
        return steps
    ready = Written(f"{name}node", lambda: is_ready(cloud, node), lambda: await_ready(cloud, node, READY))
    return [*steps, ready]


def take_down(node: Layout, stop_pods: StopPods, purge: bool) -> list[Step]:
    """The same things as steps to be undone, last first: nothing is left running, mounted or in the network."""
    run = of_node(node)
    name = f"{node.node}: " if node.namespace else ""
    wiring = Gone(f"{name}namespace", lambda: _remove_namespace(node)) if node.namespace else _pods(node)
    return [
        wiring,
        Gone(f"{name}way to the cloud", lambda: partition.mend(node)),
        Gone(f"{name}broker", lambda: run["mosquitto"].stop(GRACE)),
        Gone(f"{name}mounts and cgroups", lambda: _remove_leftovers(node)),
        Gone(f"{name}container runtime", lambda: _stop_runtime(node, run["containerd"])),
        Gone(f"{name}pods", lambda: _end_pods(node, run["containerd"], stop_pods, purge)),
        Gone(f"{name}EdgeCore", lambda: run["edgecore"].stop(GRACE)),
    ]


def admin(cloud: Layout) -> Path:
    """The administrator's kubeconfig, as the API server wrote it."""
    return cloud.apiserver_data / "admin.kubeconfig"


def is_ready(cloud: Layout, node: Layout) -> bool:
    """Whether the node is connected and the API calls it Ready."""
    try:
        connected = node.node in cluster.cloud_health(cloud.ports.monitor).nodes
        return connected and cluster.node_state(admin(cloud), node.node).ready
    except InstallError:
        return False


def await_ready(cloud: Layout, node: Layout, seconds: float) -> str:
    """Wait for that. Raises `InstallError` with EdgeCore's last words."""
    of_node(node)["edgecore"].await_ready(lambda: is_ready(cloud, node), seconds)
    return f"{node.node} is Ready"


def folders(node: Layout) -> dict[Path, int]:
    """A node's folders and their modes."""
    return {
        node.home: 0o755, node.run: 0o755, node.logs: 0o755, node.edge: 0o700, node.containerd: 0o711,
        node.images: 0o755, node.cni / "net.d": 0o755,
    }  # fmt: skip


def make_folders(wanted: dict[Path, int]) -> None:
    for folder, mode in wanted.items():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)


def data(node: Layout) -> tuple[Path, ...]:
    """What a node writes."""
    return node.edge, node.containerd, node.logs, node.run


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge and its masquerade rule."""

    wire: Wire
    title: str

    def check(self) -> bool:
        return network.has_bridge(self.wire) and network.has_rule(self.wire)

    def do(self) -> str:
        if not network.has_bridge(self.wire):
            network.add_bridge(self.wire)
        if not network.has_rule(self.wire):
            network.add_rule(self.wire)
        told = f"bridge {self.wire.bridge}, {self.wire.subnet}"
        if not network.forwards():
            told += (
                "\n      net.ipv4.ip_forward is 0 and stays so: pods with a network of their own reach this machine"
                " only, and their host\n      ports are reached from it only; `sysctl -w net.ipv4.ip_forward=1` changes"
                " both."
            )
        return told

    def undo(self) -> None:
        network.remove_rule(self.wire)
        network.remove_bridge(self.wire)


@dataclass(frozen=True, slots=True)
class Broker:
    """mosquitto, unless a broker is there already."""

    node: Layout
    daemon: Daemon
    title: str

    def check(self) -> bool:
        return namespace.inside(self.node, lambda: broker.answers(self.node.ports.mqtt))

    def do(self) -> str:
        (self.node.edge / "mosquitto").mkdir(parents=True, exist_ok=True)
        write(self.node.edge / "mosquitto.conf", broker.config(self.node))
        return Running(self.title, self.daemon, self.check).do()

    def undo(self) -> None:
        self.daemon.stop(GRACE)


def _pods(node: Layout) -> Bridge:
    return Bridge(node, "pods' network")


def _wiring(node: Layout) -> list[Step]:
    if not node.namespace:
        return [_pods(node)]
    wanted = folders(node)
    return [
        Written(
            f"{node.node}: folders",
            lambda: all(folder.is_dir() for folder in wanted),
            lambda: _make_home(node, wanted),
        ),
        Bridge(node.links, "network between the nodes"),
        Written(
            f"{node.node}: namespace",
            lambda: namespace.is_whole(node) and podroutes.are_there(node),
            lambda: _make_namespace(node),
        ),
    ]


def _make_home(node: Layout, wanted: dict[Path, int]) -> str:
    make_folders({node.home.parent: 0o755, **wanted})
    return str(node.home)


def _make_namespace(node: Layout) -> str:
    namespace.make(node)
    podroutes.make(node)
    return f"{node.namespace}, address {node.address}"


def _remove_namespace(node: Layout) -> None:
    podroutes.remove(node)
    namespace.remove(node)


def _is_as_wished(node: Layout, cut: bool) -> bool:
    return partition.is_cut(node) if cut else partition.is_whole(node)


def _cut_or_mend(node: Layout, cut: bool) -> str:
    if not cut:
        partition.mend(node)
        return "open"
    partition.cut(node)
    return f"closed on purpose; `octoedge node connect {node.node}` opens it"


def _runtime_files_wanted(node: Layout) -> dict[Path, str]:
    # The network file is made by a rename within its folder, the one way that containerd 1.6 notices.
    return {
        containerd.config_file(node): containerd.config(node, containerd.plugin_folder()),
        containerd.network_file(node): containerd.network(node),
    }


def _runtime_files(node: Layout) -> bool:
    return all(path.exists() and path.read_text() == text for path, text in _runtime_files_wanted(node).items())


def _write_runtime_files(node: Layout) -> str:
    settings = containerd.config_file(node)
    if settings.exists() and settings.read_text() != _runtime_files_wanted(node)[settings]:
        of_node(node)["containerd"].stop(GRACE)  # it reads its settings at its start; containers go on without it
    for path, text in _runtime_files_wanted(node).items():
        write(path, text)
    return str(containerd.config_file(node))


def _images_exist(node: Layout) -> bool:
    return {image.PAUSE, image.HELLO} <= containerd.image_names(node)


def _read(file: Path) -> object:
    """edgecore.yaml as EdgeCore reads it. Raises `ConfigError`."""
    from octoedge.api.config.load import load_edgecore  # only when it has changed

    return load_edgecore(file)


def _import_images(node: Layout) -> str:
    program = image.read_busybox()
    for name, wanted in (("pause", image.pause(program)), ("hello", image.hello(program))):
        file = node.images / f"{name}.tar"
        file.write_bytes(image.archive(wanted))
        containerd.import_archive(node, file)
    return f"{image.PAUSE} {image.HELLO}"


def _end_pods(node: Layout, runtime: Daemon, stop_pods: StopPods, purge: bool) -> None:
    """Through the runtime, so that networks and mounts are given back; it is started once more if it has died."""
    if runtime.pid() is None:
        if not find_by_arguments(_shim_mark(node)):
            return
        if node.namespace and not namespace.exists(node):
            return  # the shims are ended with the runtime; pods' networks went with the namespace
        Running("container runtime", runtime, lambda: containerd.answers(node)).do()
    stop_pods(node, purge)


def _stop_runtime(node: Layout, runtime: Daemon) -> None:
    runtime.stop(GRACE)
    kill_leftovers(_shim_mark(node))


def _shim_mark(node: Layout) -> tuple[str, str]:
    """What only the shims of our containerd have in their arguments."""
    return "-address", str(node.runtime_socket)


def _remove_leftovers(node: Layout) -> None:
    for folder in data(node):
        leftovers.unmount_below(folder)
    leftovers.remove_cgroups(node.cgroup_root)


def remove_data(node: Layout) -> None:
    """Delete what a further node wrote."""
    leftovers.remove(node.home)
