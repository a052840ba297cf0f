"""A cloud and an edge node on this machine, as steps: each looks, does, and can be taken back.

    folders → network → apiserver → cloudcore → containerd → images → broker → edgecore → node Ready
                            │ kubeconfig  └─ join token ───────────────────────▲

Going down takes the same things back, pods before their runtime, the cloud last.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from octoedge.errors import InstallError
from octoedge.keadm import broker, cluster, configfiles, containerd, image, leftovers, network
from octoedge.keadm.daemons import daemons
from octoedge.keadm.layout import Layout
from octoedge.keadm.processes import Daemon, find_by_arguments, kill_leftovers
from octoedge.keadm.steps import Step, Written

READY = 60.0
"""Seconds that a daemon gets until it serves; generous, for slow cards and busy machines."""
PATIENCE = 10.0
"""Seconds that a daemon which runs but does not serve gets before it is started anew."""
GRACE = 15.0
"""Seconds that a daemon gets to end by itself."""

StopPods = Callable[[Layout, bool], None]
"""Ends every pod of the runtime; with True also removes them."""


def bring_up(layout: Layout) -> list[Step]:
    """The steps that lead to a Ready node."""
    run = daemons(layout)
    return [
        Written("folders", lambda: _folders_exist(layout), lambda: _make_folders(layout)),
        Network(layout),
        Running("API server", run["apiserver"], lambda: cluster.is_ready(_admin(layout))),
        Written("kubeconfig", lambda: _kubeconfig_is_current(layout), lambda: _write_kubeconfig(layout)),
        Written(
            "cloudcore.yaml",
            layout.cloudcore_file.exists,
            lambda: _write(layout.cloudcore_file, configfiles.cloudcore(layout, network.addresses())),
        ),
        Running("CloudCore", run["cloudcore"], lambda: _cloud_is_ready(layout)),
        Written("containerd's files", lambda: _runtime_files(layout), lambda: _write_runtime_files(layout)),
        Running("container runtime", run["containerd"], lambda: containerd.answers(layout)),
        Written("images", lambda: _images_exist(layout), lambda: _import_images(layout)),
        Broker(layout, run["mosquitto"]),
        Written(
            "edgecore.yaml",
            layout.edgecore_file.exists,
            lambda: _write(layout.edgecore_file, _edge_config(layout)),
        ),
        Running("EdgeCore", run["edgecore"], lambda: run["edgecore"].pid() is not None),
        Written("node", lambda: _node_is_ready(layout), lambda: _await_node(layout, run["edgecore"])),
    ]


def take_down(layout: Layout, stop_pods: StopPods, purge: bool) -> list[Step]:
    """The same things as steps to be undone, last first: nothing of ours is left running, mounted or in the network."""
    run = daemons(layout)
    return [
        Gone("network", lambda: Network(layout).undo()),
        Gone("API server", lambda: run["apiserver"].stop(GRACE)),
        Gone("CloudCore", lambda: run["cloudcore"].stop(GRACE)),
        Gone("broker", lambda: run["mosquitto"].stop(GRACE)),
        Gone("mounts and cgroups", lambda: _remove_leftovers(layout)),
        Gone("container runtime", lambda: _stop_runtime(layout, run["containerd"])),
        Gone("pods", lambda: _end_pods(layout, run["containerd"], stop_pods, purge)),
        Gone("EdgeCore", lambda: run["edgecore"].stop(GRACE)),
    ]


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that runs and answers."""

    title: str
    daemon: Daemon
    ready: Callable[[], bool]

    def check(self) -> bool:
        return self.daemon.pid() is not None and self.ready()

    def do(self) -> str:
        if not self._recovers():
            self.daemon.stop(GRACE)
            self.daemon.start()
            self.daemon.await_ready(self.ready, READY)
        return f"pid {self.daemon.pid()}, log {self.daemon.log}"

    def _recovers(self) -> bool:
        """Whether one that runs already comes to serve; one that does not is started anew."""
        try:
            if self.daemon.pid() is not None:
                self.daemon.await_ready(self.ready, PATIENCE)
                return True
        except InstallError:
            pass
        return False

    def undo(self) -> None:
        self.daemon.stop(GRACE)


@dataclass(frozen=True, slots=True)
class Network:
    """The pods' bridge and its masquerade rule."""

    layout: Layout
    title: str = "pods' network"

    def check(self) -> bool:
        return network.has_bridge(self.layout) and network.has_rule(self.layout)

    def do(self) -> str:
        if not network.has_bridge(self.layout):
            network.add_bridge(self.layout)
        if not network.has_rule(self.layout):
            network.add_rule(self.layout)
        told = f"bridge {self.layout.bridge}, {self.layout.subnet}"
        if not network.forwards():
            told += (
                "\n      net.ipv4.ip_forward is 0 and stays so: pods with a network of their own reach this machine"
                " only;\n      `sysctl -w net.ipv4.ip_forward=1` lets them further."
            )
        return told

    def undo(self) -> None:
        network.remove_rule(self.layout)
        network.remove_bridge(self.layout)


@dataclass(frozen=True, slots=True)
class Broker:
    """mosquitto, unless a broker is there already."""

    layout: Layout
    daemon: Daemon
    title: str = "MQTT broker"

    def check(self) -> bool:
        return broker.answers(self.layout.ports.mqtt)

    def do(self) -> str:
        folder = self.layout.edge / "mosquitto"
        folder.mkdir(parents=True, exist_ok=True)
        _write(self.layout.edge / "mosquitto.conf", broker.config(self.layout))
        return Running(self.title, self.daemon, self.check).do()

    def undo(self) -> None:
        self.daemon.stop(GRACE)


@dataclass(frozen=True, slots=True)
class Gone:
    """Something that is only ever taken away."""

    title: str
    undo: Callable[[], None]

    def check(self) -> bool:
        return False

    def do(self) -> str:
        raise InstallError(f"{self.title}: only ever taken away")


def _folders(layout: Layout) -> dict[Path, int]:
    return {
        layout.home: 0o755, layout.run: 0o755, layout.logs: 0o755, layout.cloud: 0o700, layout.edge: 0o700,
        layout.containerd: 0o711, layout.images: 0o755, layout.cni / "net.d": 0o755,
    }  # fmt: skip


def _folders_exist(layout: Layout) -> bool:
    return layout.settings.exists() and all(folder.is_dir() for folder in _folders(layout))


def _make_folders(layout: Layout) -> str:
    for folder, mode in _folders(layout).items():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
    layout.save()
    return str(layout.home)


def _admin(layout: Layout) -> Path:
    return layout.apiserver_data / "admin.kubeconfig"


def _kubeconfig_is_current(layout: Layout) -> bool:
    return layout.kubeconfig.exists() and layout.kubeconfig.read_bytes() == _admin(layout).read_bytes()


def _write_kubeconfig(layout: Layout) -> str:
    _write(layout.kubeconfig, _admin(layout).read_text())
    if "SUDO_UID" in os.environ and os.geteuid() == 0:
        os.chown(layout.kubeconfig, int(os.environ["SUDO_UID"]), int(os.environ.get("SUDO_GID", "-1")))
    return str(layout.kubeconfig)


def _write(path: Path, text: str) -> str:
    """Whole or not at all, and for the owner only: tokens and keys may be in it."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)
    return str(path)


def _cloud_is_ready(layout: Layout) -> bool:
    try:
        return cluster.cloud_health(layout.ports.monitor).ok and bool(cluster.join_token(_admin(layout)))
    except InstallError:
        return False


def _runtime_files_wanted(layout: Layout) -> dict[Path, str]:
    # The network file is made by a rename within its folder, the one way that containerd 1.6 notices.
    return {
        containerd.config_file(layout): containerd.config(layout, containerd.plugin_folder()),
        containerd.network_file(layout): containerd.network(layout),
    }


def _runtime_files(layout: Layout) -> bool:
    return all(path.exists() and path.read_text() == text for path, text in _runtime_files_wanted(layout).items())


def _write_runtime_files(layout: Layout) -> str:
    for path, text in _runtime_files_wanted(layout).items():
        _write(path, text)
    return str(containerd.config_file(layout))


def _images_exist(layout: Layout) -> bool:
    return {image.PAUSE, image.HELLO} <= containerd.image_names(layout)


def _import_images(layout: Layout) -> str:
    program = image.read_busybox()
    for name, wanted in (("pause", image.pause(program)), ("hello", image.hello(program))):
        file = layout.images / f"{name}.tar"
        file.write_bytes(image.archive(wanted))
        containerd.import_archive(layout, file)
    return f"{image.PAUSE} {image.HELLO}"


def _edge_config(layout: Layout) -> str:
    return configfiles.edgecore(layout, cluster.join_token(_admin(layout)))


def _node_is_ready(layout: Layout) -> bool:
    try:
        connected = layout.node in cluster.cloud_health(layout.ports.monitor).nodes
        return connected and cluster.node_state(_admin(layout), layout.node).ready
    except InstallError:
        return False


def _await_node(layout: Layout, edgecore: Daemon) -> str:
    edgecore.await_ready(lambda: _node_is_ready(layout), READY)
    return f"{layout.node} is Ready"


def _end_pods(layout: Layout, runtime: Daemon, stop_pods: StopPods, purge: bool) -> None:
    """Through the runtime, so that networks and mounts are given back; it is started once more if it has died."""
    if runtime.pid() is None:
        if not find_by_arguments(_shim_mark(layout)):
            return
        Running("container runtime", runtime, lambda: containerd.answers(layout)).do()
    stop_pods(layout, purge)


def _stop_runtime(layout: Layout, runtime: Daemon) -> None:
    runtime.stop(GRACE)
    kill_leftovers(_shim_mark(layout))


def _shim_mark(layout: Layout) -> tuple[str, str]:
    """What only the shims of our containerd have in their arguments."""
    return "-address", str(layout.runtime_socket)


def _remove_leftovers(layout: Layout) -> None:
    for folder in _data(layout):
        leftovers.unmount_below(folder)
    leftovers.remove_cgroups(layout.cgroup_root)


def remove_data(layout: Layout) -> None:
    """Delete what the installation wrote; whatever else lies in its home stays, and then the home does too."""
    for path in _data(layout):
        leftovers.remove(path)
    with contextlib.suppress(OSError):
        layout.home.rmdir()


def _data(layout: Layout) -> tuple[Path, ...]:
    # The settings come last: until then, a purge that was interrupted can be repeated.
    return (
        layout.edge, layout.containerd, layout.cloud, layout.logs, layout.run, layout.kubeconfig, layout.settings,
    )  # fmt: skip
