"""Who brings storage and devices to this node: puts the plugins' parts together.

plugins_registry ──► Plugins ──► Drivers ──► Csi ──► volumes of pods
                            └──► Devices
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from octoedge.edge.edged import deviceapi
from octoedge.edge.edged.csidoor import CsiDoor
from octoedge.edge.edged.devices import Devices
from octoedge.edge.edged.layout import Layout
from octoedge.edge.edged.nodestatus import Attached
from octoedge.edge.edged.objects import Objects
from octoedge.edge.edged.plugins import PluginHandler, Plugins
from octoedge.edge.edged.tokens import Tokens
from octoedge.edge.ports import Metadata

if TYPE_CHECKING:
    from octoedge.edge.edged.csi import Csi
    from octoedge.edge.edged.csiapi import Driver
    from octoedge.edge.edged.csidrivers import Drivers

_FOLDER = "plugins_registry"
_CSI = "CSIPlugin"


class Storage:
    """CSI on one node; `drivers_changed` is told when a driver comes or goes, `attached` what the Node is to show."""

    def __init__(
        self,
        layout: Layout,
        node: str,
        metadata: Metadata,
        objects: Objects,
        tokens: Tokens,
        devices: Devices,
        below: Callable[[Path], list[Path]],
        connect: Callable[[Path], Driver] | None,
        drivers_changed: Callable[[], None],
        attached: Callable[[Attached], None],
    ) -> None:
        def make() -> Csi:
            from octoedge.edge.edged.csi import Csi
            from octoedge.edge.edged.csiapi import DriverClient
            from octoedge.edge.edged.csidrivers import Drivers

            drivers = Drivers(self._changed, connect or DriverClient)
            return Csi(layout, node, metadata, objects, tokens, drivers, below, self._tell)

        self._attached = attached
        self._drivers_changed = drivers_changed
        self.csi = CsiDoor(layout, make)
        handlers: dict[str, PluginHandler] = {_CSI: _CsiPlugins(self.csi), deviceapi.KIND: _DevicePlugins(devices)}
        self._plugins = Plugins(layout.root / _FOLDER, handlers)

    @property
    def drivers(self) -> Drivers:
        """The CSI drivers of this node."""
        return self.csi.open().drivers

    async def run(self) -> None:
        """Look for plugins until cancelled."""
        try:
            await self._plugins.run()
        finally:
            self.csi.close()

    def _changed(self) -> None:
        self._tell()
        self._drivers_changed()

    def _tell(self) -> None:
        csi = self.csi.open()
        self._attached(Attached(csi.drivers.node_ids(), csi.drivers.topology(), csi.attached_in_use()))


class _CsiPlugins:
    """CSI drivers that register."""

    def __init__(self, door: CsiDoor) -> None:
        self._door = door

    async def register(self, name: str, endpoint: Path, versions: tuple[str, ...]) -> None:
        await self._door.open().drivers.register(name, endpoint, versions)

    def unregister(self, name: str) -> None:
        self._door.open().drivers.unregister(name)


class _DevicePlugins:
    """Device plugins that register as CSI drivers do; what each offers is followed until its stream ends."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices

    async def register(self, name: str, endpoint: Path, versions: tuple[str, ...]) -> None:
        await self._devices.add(name, endpoint, versions)

    def unregister(self, name: str) -> None:
        """Nothing: the plugin's own stream tells when it is away."""
