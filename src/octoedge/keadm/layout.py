"""Where one local installation lives: its folders, its ports, its names on the machine.

`$OCTOEDGE_HOME` separates data, `--port-offset` shifts every port, and the *slot* numbers what the kernel knows by name
(bridge, subnet, cgroup root), so that several installations can live side by side. Offset, slot and node name are
decided once, by the first `octoedge up`, and kept in `settings.json`; every other command reads them from there. The
grace period of nodes is kept there too, and may be changed by a later `octoedge up`.

Node number 1 is the machine itself. Every further node has a number of its own and a network namespace, and a layout
whose home is `nodes/NAME` below the installation's; ports are the same, since the namespace has its own.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from octoedge.errors import ConfigError, InstallError
from octoedge.store import durable

MAX_OFFSET = 65535 - 10550
NODE_GRACE = 40.0
"""Seconds of silence after which a node is unreachable, as in Kubernetes."""
LEAST_GRACE = 15.0
"""A node says something every 10 seconds."""
NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
MAX_HOME = 80
"""Sockets live below the home; a socket's path may have 107 characters."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Every port that the installation listens on."""

    apiserver: int
    cloudhub: int
    certificates: int
    stream: int
    tunnel: int
    monitor: int
    mqtt: int
    edged: int
    metaserver: int

    @classmethod
    def shifted(cls, offset: int) -> Ports:
        """The default ports, moved up by `offset`."""
        defaults = cls(6443, 10000, 10002, 10003, 10004, 9091, 1883, 10350, 10550)
        return cls(*(getattr(defaults, name) + offset for name in cls.__slots__))


@dataclass(frozen=True, slots=True)
class Links:
    """The network between this machine and its further nodes: .1 is the machine, .N the node with number N."""

    home: Path
    slot: int

    @property
    def bridge(self) -> str:
        return f"octol{self.slot}"

    @property
    def subnet(self) -> str:
        return f"10.89.{77 + self.slot}.0/24"

    @property
    def gateway(self) -> str:
        return self.address(1)

    def address(self, number: int) -> str:
        return f"10.89.{77 + self.slot}.{number}"

    def port(self, number: int) -> str:
        """The bridge's interface to that node."""
        return f"octo{self.slot}n{number}"


@dataclass(frozen=True, slots=True)
class Layout:
    """One installation on this machine."""

    home: Path
    offset: int = 0
    slot: int = 0
    node: str = "edge-1"
    number: int = 1
    node_grace: float = NODE_GRACE

    @property
    def ports(self) -> Ports:
        return Ports.shifted(self.offset)

    @property
    def suffix(self) -> str:
        """Sets the names of a second, third … installation apart; empty for the first."""
        return f"-{self.slot}" if self.slot else ""

    @property
    def namespace(self) -> str:
        """The network namespace that the node lives in; empty for the machine's own."""
        return f"octoedge{self.suffix}-n{self.number}" if self.number > 1 else ""

    @property
    def bridge(self) -> str:
        return f"octo{self.slot}"

    @property
    def subnet(self) -> str:
        return f"{self._pods}.0/24"

    @property
    def gateway(self) -> str:
        return f"{self._pods}.1"

    @property
    def _pods(self) -> str:
        return f"10.{99 + self.number}.{77 + self.slot}" if self.number > 1 else f"10.88.{77 + self.slot}"

    @property
    def links(self) -> Links:
        """What joins the further nodes to this machine."""
        return Links(self.home.parent.parent if self.number > 1 else self.home, self.slot)

    @property
    def cloud_address(self) -> str:
        """By which the node reaches the cloud."""
        return self.links.gateway if self.number > 1 else "127.0.0.1"

    @property
    def address(self) -> str:
        """A further node's own address; the first one's is the machine's, and is left open."""
        return self.links.address(self.number) if self.number > 1 else ""

    @property
    def cgroup_root(self) -> str:
        return f"/octoedge{self.suffix}" + (f"-n{self.number}" if self.number > 1 else "")

    @property
    def kubeconfig(self) -> Path:
        return self.home / "kubeconfig"

    @property
    def settings(self) -> Path:
        return self.home / "settings.json"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def cloud(self) -> Path:
        return self.home / "cloud"

    @property
    def apiserver_data(self) -> Path:
        return self.cloud / "apiserver"

    @property
    def edge(self) -> Path:
        return self.home / "edge"

    @property
    def containerd(self) -> Path:
        return self.home / "containerd"

    @property
    def cloudcore_file(self) -> Path:
        return self.cloud / "cloudcore.yaml"

    @property
    def edgecore_file(self) -> Path:
        return self.edge / "edgecore.yaml"

    @property
    def runtime_socket(self) -> Path:
        return self.containerd / "run.sock"

    @property
    def images(self) -> Path:
        return self.containerd / "images"

    @property
    def registries(self) -> Path:
        """How registries are reached, in the form of containerd's hosts files; one folder for all nodes."""
        return self.links.home / "containerd" / "certs.d"

    @property
    def cni(self) -> Path:
        return self.containerd / "cni"

    def further(self, name: str, number: int) -> Layout:
        """The layout of another node of this installation. Raises `ConfigError` when its name cannot be used."""
        home = self.home / "nodes" / checked_name(name)
        if len(str(home)) > MAX_HOME:
            raise ConfigError(
                f"{home} is {len(str(home))} characters long; at most {MAX_HOME} leave room for the sockets below it."
                " Choose a shorter name for the node, or a shorter OCTOEDGE_HOME."
            )
        return replace(self, home=home, node=name, number=number)

    def is_saved(self) -> bool:
        """Whether the commands that follow will find just this."""
        return load({"OCTOEDGE_HOME": str(self.home)}) == self

    def save(self) -> None:
        """Keep what was decided for the commands that follow."""
        decided = {"portOffset": self.offset, "slot": self.slot, "node": self.node, "nodeGrace": self.node_grace}
        durable.write(self.settings, (json.dumps(decided) + "\n").encode(), 0o644)


def locate(environment: Mapping[str, str]) -> Path:
    """The home that `$OCTOEDGE_HOME` names, or `~/.octoedge`."""
    home = environment.get("OCTOEDGE_HOME") or str(Path(environment.get("HOME", "/root")) / ".octoedge")
    path = Path(os.path.abspath(home))
    if len(str(path)) > MAX_HOME:
        raise ConfigError(
            f"OCTOEDGE_HOME {path} is {len(str(path))} characters long; at most {MAX_HOME} leave room for the"
            " sockets below it. Choose a shorter folder."
        )
    return path


def existing(environment: Mapping[str, str], hint: str = "`octoedge up` does it") -> Layout:
    """The installation at the home; `InstallError` with the hint when nothing was ever set up there."""
    found = load(environment)
    if found is None:
        raise InstallError(f"nothing is set up in {locate(environment)}; {hint}.")
    return found


def load(environment: Mapping[str, str]) -> Layout | None:
    """The installation at the home, or None when nothing was ever set up there."""
    layout = Layout(locate(environment))
    try:
        decided = json.loads(layout.settings.read_text())
        return replace(
            layout,
            offset=int(decided["portOffset"]),
            slot=int(decided["slot"]),
            node=str(decided["node"]),
            node_grace=float(decided.get("nodeGrace", NODE_GRACE)),
        )
    except FileNotFoundError:
        return None
    except OSError as problem:
        why = f"{layout.settings} cannot be read: {problem.strerror}"
        raise ConfigError(f"{why}; set OCTOEDGE_HOME to the folder of an installation, or to a new one") from problem
    except (ValueError, KeyError, TypeError) as problem:
        raise ConfigError(
            f"{layout.settings} cannot be understood ({problem}). Restore it, or remove the installation by hand."
        ) from problem


def choose(environment: Mapping[str, str], offset: int | None, node: str | None, grace: float | None = None) -> Layout:
    """The installation that `octoedge up` is to work on: as it was decided, else as asked."""
    chosen = _choose(environment, offset, node)
    return chosen if grace is None else replace(chosen, node_grace=_checked_grace(grace))


def _choose(environment: Mapping[str, str], offset: int | None, node: str | None) -> Layout:
    wanted = offset if offset is not None else _offset_from(environment)
    known = load(environment)
    if known is None:
        return Layout(locate(environment), offset=_checked(wanted or 0), node=checked_name(node or "edge-1"))
    if wanted is not None and wanted != known.offset:
        raise ConfigError(
            f"the installation in {known.home} uses port offset {known.offset}, not {wanted}. Leave the offset out, set"
            " another OCTOEDGE_HOME, or remove it first with `octoedge down --purge`."
        )
    if node is not None and node != known.node:
        raise ConfigError(f"the installation in {known.home} has the node {known.node}, not {node}.")
    return known


def _offset_from(environment: Mapping[str, str]) -> int | None:
    text = environment.get("OCTOEDGE_PORT_OFFSET", "")
    if not text:
        return None
    if not text.isdecimal():
        raise ConfigError(f"OCTOEDGE_PORT_OFFSET is {text!r}; it must be a number from 0 to {MAX_OFFSET}.")
    return int(text)


def checked_name(node: str) -> str:
    """The name, when Kubernetes takes it for a node. Raises `ConfigError`."""
    if len(node) > 63 or not NODE_NAME.fullmatch(node):
        raise ConfigError(
            f"the node name {node!r} is not one that Kubernetes takes: small letters, digits, '-' and '.', at most 63,"
            " a letter or digit at both ends."
        )
    return node


def _checked_grace(seconds: float) -> float:
    if not LEAST_GRACE <= seconds <= 86400:
        raise ConfigError(
            f"a grace period of {seconds:g} s is not possible; nodes report every 10 s, so it must be from"
            f" {LEAST_GRACE:g} to 86400."
        )
    return seconds


def _checked(offset: int) -> int:
    if not 0 <= offset <= MAX_OFFSET:
        raise ConfigError(f"port offset {offset} moves ports out of range; it must be from 0 to {MAX_OFFSET}.")
    return offset
