"""Which further nodes an installation has, and which nodes are disconnected on purpose: `nodes.json` in its home.

It is written before anything is changed, so that `octoedge up` completes what was begun.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from octoedge.errors import ConfigError, InstallError
from octoedge.keadm.layout import Layout
from octoedge.store import durable

MOST = 100
"""Nodes on one machine; each needs a subnet."""


@dataclass(frozen=True, slots=True)
class Register:
    """The nodes of one installation."""

    cloud: Layout
    further: tuple[Layout, ...] = ()
    disconnected: frozenset[str] = frozenset()

    def nodes(self) -> Iterator[Layout]:
        """Every node, the first one first."""
        yield self.cloud
        yield from self.further

    def node(self, name: str) -> Layout:
        """The node of that name. Raises `InstallError` when it is not on this machine."""
        found = next((node for node in self.nodes() if node.node == name), None)
        if found is None:
            known = ", ".join(node.node for node in self.nodes())
            raise InstallError(f"the node {name} is not on this machine; here are: {known}.")
        return found

    def added(self, name: str) -> Register:
        """With one more; the same when it is there already. Raises `ConfigError`, `InstallError`."""
        if any(node.node == name for node in self.further):
            return self
        if name == self.cloud.node:
            raise InstallError(f"{name} is the node that `octoedge up` made; choose another name.")
        taken = {node.number for node in self.nodes()}
        free = next((number for number in range(2, MOST + 1) if number not in taken), None)
        if free is None:
            raise InstallError(f"{MOST} nodes are on this machine, which is the most.")
        return replace(self, further=(*self.further, self.cloud.further(name, free)))

    def removed(self, name: str) -> Register:
        """Without that node."""
        left = tuple(node for node in self.further if node.node != name)
        return replace(self, further=left, disconnected=self.disconnected - {name})

    def cut(self, name: str, *, off: bool) -> Register:
        """With that node disconnected, or connected again."""
        self.node(name)
        names = self.disconnected | {name} if off else self.disconnected - {name}
        return replace(self, disconnected=names)

    def save(self) -> None:
        """Keep it, whole or not at all."""
        content = {
            "nodes": [{"name": node.node, "number": node.number} for node in self.further],
            "disconnected": sorted(self.disconnected),
        }
        durable.write(file(self.cloud), (json.dumps(content, indent=1) + "\n").encode(), 0o644)


def file(cloud: Layout) -> Path:
    return cloud.home / "nodes.json"


def load(cloud: Layout) -> Register:
    """The register of the installation; without a file there is the first node only."""
    path = file(cloud)
    try:
        content = json.loads(path.read_text())
        further = tuple(cloud.further(str(entry["name"]), int(entry["number"])) for entry in content["nodes"])
        return Register(cloud, further, frozenset(map(str, content["disconnected"])))
    except FileNotFoundError:
        return Register(cloud)
    except (ValueError, KeyError, TypeError) as problem:
        raise ConfigError(f"{path} cannot be understood ({problem}). Restore it, or remove it with its nodes.") from (
            problem
        )
