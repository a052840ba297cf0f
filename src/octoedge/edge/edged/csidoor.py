"""The way to CSI, which is brought into memory when a driver registers or a pod has a volume of that kind.

Most nodes have neither; what they pay is this file. `Csi` itself is in `csi`, what pods hold in `csiheld`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from octoedge.edge.edged.csifiles import SET_UP, TEAR_DOWN, CsiFailed, inside, volumes_of
from octoedge.edge.edged.layout import Layout

if TYPE_CHECKING:
    from octoedge.edge.edged.csi import Csi


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

    def holds(self, uid: str, step: str = SET_UP) -> bool:
        """Whether a pod has a CSI volume. Raises `CsiFailed` at `step` when that cannot be read."""
        return bool(volumes_of(self._layout.pod(uid), step))

    async def release(self, uid: str) -> None:
        """Take back all that a pod holds. Raises `CsiFailed` while a driver does not let go."""
        if self.holds(uid, TEAR_DOWN):
            await self.open().release(uid)

    async def stats(self) -> dict[str, list[dict[str, Any]]]:
        """How full volumes are, by pod uid."""
        return await self.open().stats() if self._csi is not None or self._any() else {}

    def _any(self) -> bool:
        try:
            return any(volumes_of(pod, SET_UP) for pod in inside(self._layout.pods, SET_UP))
        except CsiFailed:
            return True  # or so it may be
