"""The cloud of a cell: an API server, ours or the one of a kubeconfig, and a CloudCore of either make."""

from __future__ import annotations

import socket
import sys
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from octoedge.errors import InstallError
from octoedge.keadm import cluster, network
from octoedge.keadm.daemons import of_cloud
from octoedge.keadm.files import write
from octoedge.keadm.layout import Layout
from octoedge.keadm.processes import Daemon, call
from octoedge.keadm.running import GRACE, READY
from octoedge.keadm.toolchain import cached_kubectl
from octoedge.pki import x509
from octoedge.testing.peers import settings
from octoedge.testing.peers.programs import GoPrograms
from octoedge.testing.peers.undo import each

TUNNEL_PORT = 10351
"""What the first Go CloudCore of a cluster takes as the kubelets' port."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """`go` names the programs when CloudCore is to be the Go one; `kubeconfig` an API server that is there already."""

    layout: Layout
    go: GoPrograms | None = None
    kubeconfig: Path | None = None

    @property
    def make(self) -> str:
        return "Go" if self.go else "ours"

    @property
    def admin(self) -> Path:
        """The administrator's kubeconfig."""
        return self.kubeconfig or self.layout.apiserver_data / "admin.kubeconfig"

    @property
    def apiserver(self) -> Daemon:
        return of_cloud(self.layout)["apiserver"]

    @property
    def cloudcore(self) -> Daemon:
        ours = of_cloud(self.layout)["cloudcore"]
        if self.go is None:
            return ours
        command = (str(self.go.cloudcore), "--config", str(self.layout.cloudcore_file))
        return Daemon("cloudcore", command, ours.run, ours.logs)

    def start(self) -> None:
        """Both, until nodes can join."""
        for folder in (self.layout.run, self.layout.logs, self.layout.cloud):
            folder.mkdir(parents=True, exist_ok=True)
        network.add_bridge(self.layout.links)
        if self.kubeconfig is None:
            self.apiserver.start()
            self.apiserver.await_ready(lambda: cluster.is_ready(self.admin), READY)
        else:
            self._prepare_cluster()
        self.start_cloudcore()

    def start_cloudcore(self) -> None:
        """Of this make, whichever was here before."""
        write(self.layout.cloudcore_file, self._settings())
        self.cloudcore.start()
        self.cloudcore.await_ready(self.is_open, READY)

    def stop(self) -> None:
        each(
            lambda: self.cloudcore.stop(GRACE),
            lambda: self.apiserver.stop(GRACE),
            self._clean_cluster,
            lambda: network.remove_bridge(self.layout.links),
        )

    def is_open(self) -> bool:
        """Whether it hands out tokens and takes connections."""
        try:
            cluster.join_token(self.admin)
            for port in (self.layout.ports.cloudhub, self.layout.ports.certificates, self.layout.ports.stream):
                socket.create_connection(("127.0.0.1", port), 2).close()
        except (InstallError, OSError):
            return False
        return True

    def token(self) -> str:
        return cluster.join_token(self.admin)

    def kubectl(self, *arguments: str) -> str:
        """Raises `InstallError`."""
        return call((str(cached_kubectl(Path(sys.executable))), "--kubeconfig", str(self.admin), *arguments))

    def _settings(self) -> str:
        address, embedded = self.layout.links.gateway, str(self.layout.apiserver_data / "cloudcore.kubeconfig")
        if self.go is None:
            door = address if self.kubeconfig is not None else ""
            text = settings.our_cloudcore(self.layout, address, door)
        else:
            self._make_stream_certificate()
            text = settings.go_cloudcore(self.layout, address, self.layout.cloud / "pki" / "streamCA.crt")
        return text.replace(embedded, str(self.kubeconfig or embedded))

    def _prepare_cluster(self) -> None:
        """What `keadm init` gives a cluster; one in which a CloudCore has been is left alone. Raises `InstallError`."""
        found = self.kubectl("get", "namespace", "kubeedge", "--ignore-not-found", "-o", "name")
        if found and self.kubectl("-n", "kubeedge", "get", "secret", "casecret", "--ignore-not-found", "-o", "name"):
            raise InstallError(
                f"the cluster of {self.kubeconfig} has Secret kubeedge/casecret, so a CloudCore is at home"
                " there; the matrix brings its own and removes its Secrets. Give it an empty cluster, or none."
            )
        with resources.as_file(resources.files("octoedge.api").joinpath("crds")) as folder:
            self.kubectl("apply", "--server-side", "-f", str(folder))
        if not found:
            self.kubectl("create", "namespace", "kubeedge")
        network.iptables("-A", self._way_to_nodes)

    @property
    def _way_to_nodes(self) -> network.Rule:
        """As KubeEdge's iptables manager: the port that nodes show leads to the Go CloudCore's stream server."""
        target = f"{self.layout.links.gateway}:{self.layout.ports.stream}"
        words = (
            "-d",
            self.layout.links.subnet,
            "-p",
            "tcp",
            "--dport",
            str(TUNNEL_PORT),
            *network.mark(self.layout.home),
        )
        return network.Rule("nat", "OUTPUT", (*words, "-j", "DNAT", "--to-destination", target))

    def _clean_cluster(self) -> None:
        """What a cell left in a cluster that was there, so that the next one starts afresh."""
        if self.kubeconfig is None:
            return
        network.remove(self._way_to_nodes)
        gone = ("--ignore-not-found", "--wait=false")
        self.kubectl("delete", "pods", "--field-selector=spec.nodeName=peer", "--force", "--grace-period=0", *gone)
        self.kubectl("delete", "node/peer", "configmap/words", "secret/hidden", *gone)
        self.kubectl("delete", "configmap,secret", "--all", "-n", "kubeedge", *gone)
        self.kubectl("delete", "lease/peer", "-n", "kube-node-lease", *gone)
        self.kubectl("delete", "objectsyncs", "--all", "-A", *gone)

    def _make_stream_certificate(self) -> None:
        """KubeEdge's administrators make it with a script, `certgen.sh stream`; CloudCore does not start without."""
        folder = self.layout.cloud / "pki"
        folder.mkdir(parents=True, exist_ok=True)
        ca = x509.new_authority(time.time())
        server = x509.new_server(ca, ["127.0.0.1", "localhost"], time.time())
        (folder / "streamCA.crt").write_bytes(x509.certificate_to_pem(ca.certificate))
        (folder / "stream.crt").write_bytes(x509.certificate_to_pem(server.certificate))
        (folder / "stream.key").write_bytes(x509.key_to_pem(server.key))
