"""The way to CSI, which is brought into memory when a driver registers or a pod has a volume of that kind.

Most nodes have neither; what they pay is this file. `Csi` itself is in `csi`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from octoedge.edge.edged.layout import Layout
from octoedge.errors import OctoedgeError

if TYPE_CHECKING:
    from octoedge.edge.edged.csi import Csi

DATA = "vol_data.json"
"""Beside each volume: what is held."""


class CsiFailed(OctoedgeError):
    """A volume cannot be had; `step` is the kubelet's name of what failed."""

    def __init__(self, step: str, volume: str, why: object) -> None:
        super().__init__(f'{step} failed for volume "{volume}" : {why}')


class CsiDoor:
    """`open` makes what is behind it, once."""

    def __init__(self, layout: Layout, make: Callable[[], Csi]) -> None:
        self._layout = layout
        self._make = make
        self._csi: Csi | None = None

    def open(self) -> Csi:
        """The CSI volumes of this node."""
        if self._csi is None:
            self._csi = self._make()
        return self._csi

    def close(self) -> None:
        """End the connections to drivers, if there ever were any."""
        if self._csi is not None:
            self._csi.drivers.close()

    def holds(self, uid: str) -> bool:
        """Whether a pod has a CSI volume."""
        return any(self._layout.pod(uid).glob(f"volumes/kubernetes.io~csi/*/{DATA}"))

    async def release(self, uid: str) -> None:
        """Take back all that a pod holds. Raises `CsiFailed` while a driver does not let go."""
        if self.holds(uid):
            await self.open().release(uid)

    async def stats(self) -> dict[str, list[dict[str, Any]]]:
        """How full volumes are, by pod uid."""
        some = any(self._layout.pods.glob(f"*/volumes/kubernetes.io~csi/*/{DATA}"))
        return await self.open().stats() if some else {}
