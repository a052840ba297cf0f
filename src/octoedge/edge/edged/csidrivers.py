"""The CSI drivers that have registered on this node: what each calls it, and what it can do.

plugins ──register──► NodeGetInfo, NodeGetCapabilities ──► Drivers ──► csi (mounts), node status (annotation)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from octoedge.edge.edged.csiapi import CsiError, Driver, DriverClient

log = logging.getLogger(__name__)


class Registered(msgspec.Struct, frozen=True):
    """A driver that can be asked."""

    name: str
    node_id: str
    topology: Mapping[str, str]
    abilities: frozenset[int]
    driver: Driver


class Drivers:
    """The drivers of one node by name; `changed` is told when one comes or goes."""

    def __init__(
        self, changed: Callable[[], None] = lambda: None, connect: Callable[[Path], Driver] = DriverClient
    ) -> None:
        self._changed = changed
        self._connect = connect
        self._known: dict[str, Registered] = {}

    async def register(self, name: str, endpoint: Path, versions: tuple[str, ...]) -> None:
        """Take a driver in, or anew. Raises `CsiError` when it is none that can be used."""
        if not any(version.removeprefix("v").partition(".")[0] == "1" for version in versions):
            shown = ", ".join(versions) or "none"
            raise CsiError(f"CSI driver {name} speaks no version 1 of CSI (it says: {shown})")
        driver = self._connect(endpoint)
        try:
            info, abilities = await asyncio.gather(driver.info(), driver.abilities())
        except CsiError:
            driver.close()
            raise
        if not info.node_id:
            driver.close()
            raise CsiError(f"CSI driver {name} gives this node no id")
        self.unregister(name, quietly=True)
        topology = info.topology.segments if info.topology is not None else {}
        self._known[name] = Registered(name, info.node_id, topology, abilities, driver)
        log.info("CSI driver %s at %s is registered; it calls this node %s", name, endpoint, info.node_id)
        self._changed()

    def unregister(self, name: str, *, quietly: bool = False) -> None:
        """A driver has left."""
        known = self._known.pop(name, None)
        if known is not None:
            known.driver.close()
            if not quietly:
                log.info("CSI driver %s has left", name)
                self._changed()

    def find(self, name: str) -> Registered | None:
        """A driver; None while it is not registered."""
        return self._known.get(name)

    def node_ids(self) -> dict[str, str]:
        """What each driver calls this node."""
        return {name: known.node_id for name, known in sorted(self._known.items())}

    def topology(self) -> dict[str, str]:
        """Where this node lies, as drivers say: labels of the Node."""
        return {key: value for known in self._known.values() for key, value in known.topology.items()}

    def close(self) -> None:
        """End all connections."""
        for name in list(self._known):
            self.unregister(name, quietly=True)
