"""The edge of a cell: a node in a network namespace, with a runtime and a broker of its own, and either EdgeCore."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

from octoedge.edge.edged.cgroups import Cgroups
from octoedge.edge.edged.limits import PodLimits
from octoedge.keadm import broker, configfiles, containerd, edgenode, image, leftovers, namespace, partition
from octoedge.keadm.daemons import of_node
from octoedge.keadm.files import write
from octoedge.keadm.layout import Layout
from octoedge.keadm.processes import Daemon, kill_leftovers
from octoedge.keadm.running import GRACE, READY
from octoedge.testing.peers import settings
from octoedge.testing.peers.cloud import Cloud
from octoedge.testing.peers.programs import GoPrograms
from octoedge.testing.peers.undo import each


@dataclass(frozen=True, slots=True)
class Edge:
    """`go` names the programs when EdgeCore is to be the Go one."""

    node: Layout
    go: GoPrograms | None = None

    @property
    def make(self) -> str:
        return "Go" if self.go else "ours"

    @property
    def runtime(self) -> Daemon:
        ours = of_node(self.node)["containerd"]
        return replace(ours, through=(*ours.through, *settings.shielded(self.node))) if self.go else ours

    @property
    def broker(self) -> Daemon:
        return of_node(self.node)["mosquitto"]

    @property
    def edgecore(self) -> Daemon:
        ours = of_node(self.node)["edgecore"]
        if self.go is None:
            return ours
        # Where the runtime lives: volumes that the kubelet mounts must be seen by containers.
        through = (
            "nsenter",
            f"--net={namespace.NAMES / self.node.namespace}",
            f"--mount=/proc/{self.runtime.pid()}/ns/mnt",
        )
        return Daemon(
            "edgecore",
            (str(self.go.edgecore), "--config", str(self.node.edgecore_file)),
            ours.run,
            ours.logs,
            {"CHECK_EDGECORE_ENVIRONMENT": "false"},
            (*through, "--"),
        )

    @property
    def certificate(self) -> Path:
        return self.node.edge / "pki" / "server.crt"

    def start(self, cloud: Cloud) -> None:
        """All of it, up to EdgeCore's first steps."""
        edgenode.make_folders({self.node.home.parent: 0o755, **edgenode.folders(self.node)})
        namespace.make(self.node)
        for path, text in {
            containerd.config_file(self.node): containerd.config(self.node, containerd.plugin_folder()),
            containerd.network_file(self.node): containerd.network(self.node),
            self.node.edge / "mosquitto.conf": broker.config(self.node),
        }.items():
            write(path, text)
        (self.node.edge / "mosquitto").mkdir(exist_ok=True)
        if self.go:
            settings.prepare_shield(self.node)
            asyncio.run(Cgroups().create(self.node.cgroup_root, PodLimits()))  # the kubelet wants it to be there
        self.runtime.start()
        self.runtime.await_ready(lambda: containerd.answers(self.node), READY)
        import_images(self.node)
        self.broker.start()
        write_text = settings.go_edgecore if self.go else configfiles.edgecore
        write(self.node.edgecore_file, write_text(self.node, cloud.token()))
        self.edgecore.start()

    def restart(self) -> None:
        self.edgecore.stop(GRACE)
        self.edgecore.start()

    def cut(self) -> None:
        """Drop every packet between it and the cloud; nobody is told."""
        partition.cut(self.node)

    def mend(self) -> None:
        partition.mend(self.node)

    def ctr(self, *arguments: str) -> str:
        return containerd.ctr(self.node, *arguments)

    def stop(self) -> None:
        """Everything, pods too; nothing stays on the machine but files."""
        home, node = self.node.home, self.node
        each(
            lambda: self.edgecore.stop(GRACE),
            lambda: self.broker.stop(GRACE),
            lambda: leftovers.remove_cgroups(node.cgroup_root),
            lambda: self.runtime.stop(GRACE),
            lambda: kill_leftovers(("-address", str(node.runtime_socket))),
            lambda: leftovers.unmount_below(home),
            lambda: namespace.remove(node),
        )


def import_images(node: Layout) -> None:
    """The images that pods of the cases run."""
    program = image.read_busybox()
    hello = image.hello(program)
    again = replace(hello, name=hello.name.replace(":1", ":2"), files={**hello.files, "/second": (b"", 0o644)})
    for name, made in (("pause", image.pause(program)), ("hello", hello), ("again", again)):
        file = node.images / f"{name}.tar"
        file.write_bytes(image.archive(made))
        containerd.import_archive(node, file)
