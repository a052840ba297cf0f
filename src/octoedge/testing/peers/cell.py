"""One cell of the matrix: a cloud and an edge of some make each, and what a user does with them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octoedge.errors import InstallError
from octoedge.keadm import namespace, network
from octoedge.keadm.layout import Layout
from octoedge.keadm.toolchain import cached_kubectl
from octoedge.keadm.turns import turn
from octoedge.testing.eventually import eventually
from octoedge.testing.peers.cloud import Cloud
from octoedge.testing.peers.edge import Edge
from octoedge.testing.peers.programs import GoPrograms
from octoedge.testing.peers.undo import each

NODE = "peer"
MAX_PAGE = 1 << 20


@dataclass(frozen=True, slots=True)
class Cell:
    """A running cloud and a node that is joining it."""

    cloud: Cloud
    edge: Edge
    go: GoPrograms | None = None
    """The Go programs, also where the cell uses none."""

    def kubectl(self, *arguments: str, stdin: str = "", timeout: float = 60) -> str:
        """What kubectl 1.32 printed; `AssertionError` with all its words when it failed."""
        status, out, err = self.try_kubectl(*arguments, stdin=stdin, timeout=timeout)
        assert status == 0, f"kubectl {' '.join(arguments)}: {err.strip()}"
        return out

    def try_kubectl(self, *arguments: str, stdin: str = "", timeout: float = 60) -> tuple[int, str, str]:
        """Its exit status, output and errors; `AssertionError` when it does not end."""
        try:
            done = subprocess.run(
                self._command(arguments), input=stdin, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as late:
            words = f"no end after {timeout:.0f} s: {late.stdout!r} {late.stderr!r}"
            raise AssertionError(f"kubectl {' '.join(arguments)}: {words}") from late
        return done.returncode, done.stdout, done.stderr

    def listen(self, *arguments: str, seconds: float) -> str:
        """What kubectl printed until it was killed."""
        try:
            done = subprocess.run(self._command(arguments), capture_output=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired as ended:
            return (ended.stdout or b"").decode()
        raise AssertionError(f"kubectl {' '.join(arguments)} ended by itself: {done.stdout!r} {done.stderr!r}")

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        kubectl, cache = cached_kubectl(Path(sys.executable)), self.cloud.layout.home / "kubectl"
        return [str(kubectl), "--kubeconfig", str(self.cloud.admin), "--cache-dir", str(cache), *arguments]

    def get(self, *what: str) -> Any:
        """`kubectl get … -o json`; `AssertionError` when it is not there."""
        return json.loads(self.kubectl("get", *what, "-o", "json"))

    def get_raw(self, path: str) -> Any:
        """`kubectl get --raw`, from JSON."""
        return json.loads(self.kubectl("get", "--raw", path))

    def note(self) -> None:
        """Keep what the API holds at the end beside the logs: to see what each make writes, and for those who debug."""
        kinds = "nodes,pods,leases,events,objectsyncs,clusterobjectsyncs,devices,devicestatuses"
        status, out, err = self.try_kubectl("get", kinds, "-A", "-o", "yaml", "--show-managed-fields")
        (self.cloud.layout.home / "objects.yaml").write_text(out if status == 0 else err)

    def apply(self, manifest: str) -> None:
        self.kubectl("apply", "-f", "-", stdin=manifest)

    def page(self, path: str, port: int) -> str:
        """What a pod in the node's own network serves, asked there: it needs neither the cloud nor the tunnel."""
        url = f"http://127.0.0.1:{port}/{path}"

        def ask() -> str:
            try:
                with urllib.request.urlopen(url, timeout=3) as answer:
                    text: str = answer.read(MAX_PAGE).decode()
                    return text
            except urllib.error.HTTPError as refused:
                raise AssertionError(f"{url} answered {refused.code}") from refused

        return namespace.inside(self.edge.node, ask)

    def pod(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get("pod", name)
        return found

    def await_ready(self, name: str, within: float = 90) -> dict[str, Any]:
        """The pod as soon as its Ready condition is True."""
        return eventually(lambda: self.pod(name), lambda found: is_true(found, "Ready"), within=within)

    def await_gone(self, name: str, within: float = 60) -> None:
        """Until the API knows it no more, and the runtime neither."""
        eventually(lambda: f'"{name}" not found' in self.try_kubectl("get", "pod", name)[2], within=within)
        eventually(lambda: name not in self.running_pods(), within=within)

    def await_node_ready(self, within: float = 120) -> dict[str, Any]:
        return eventually(lambda: self.get("node", NODE), lambda found: is_true(found, "Ready"), within=within)

    def lease_time(self) -> str:
        """When the node last said that it lives."""
        text: str = self.get("lease", "-n", "kube-node-lease", NODE)["spec"]["renewTime"]
        return text

    def await_contact(self, within: float = 90) -> None:
        """Until the node has said something new to the API."""
        before = eventually(self.lease_time, within=within)  # it may not have said anything yet
        eventually(self.lease_time, lambda now: now != before, within=within)

    def running_pods(self) -> dict[str, list[str]]:
        """The running containers by pod name, asked of the runtime behind everybody's back."""
        found: dict[str, list[str]] = {}
        for line in self.edge.ctr("tasks", "list").splitlines()[1:]:
            container, _, state = line.split()[:3]
            try:
                labels = json.loads(self.edge.ctr("containers", "info", container)).get("Labels", {})
            except InstallError:  # it has gone since
                continue
            is_container = labels.get("io.cri-containerd.kind") == "container"
            if state == "RUNNING" and is_container:
                found.setdefault(labels["io.kubernetes.pod.name"], []).append(container)
        return found


def is_true(found: dict[str, Any], condition: str) -> bool:
    """Whether that condition of an object is True."""
    conditions = found.get("status", {}).get("conditions", [])
    return any(one["type"] == condition and one["status"] == "True" for one in conditions)


@contextlib.contextmanager
def cell(
    home: Path, offset: int, makes: tuple[str, str], go: GoPrograms | None, kubeconfig: Path | None = None
) -> Iterator[Cell]:
    """A cloud and an edge of these makes, `ours` or `Go`; everything of theirs is gone afterwards but their files."""
    cloud, edge = (go if make == "Go" else None for make in makes)
    home.mkdir(parents=True, exist_ok=True)
    with turn(lambda _: None):
        layout = network.find_slot(Layout(home, offset))
        made = Cell(Cloud(layout, cloud, kubeconfig), Edge(layout.further(NODE, 2), edge), go)
        try:
            made.cloud.start()
        except BaseException:
            with contextlib.suppress(InstallError):  # what kept it from starting is what counts
                made.cloud.stop()
            raise
    try:
        made.edge.start(made.cloud)
        yield made
    finally:
        each(made.edge.stop, made.cloud.stop)
