"""The way to CSI, which is brought into memory when a driver registers or a pod has a volume of that kind.

Most nodes have neither; what they pay is this file. `Csi` itself is in `csi`, what pods hold in `csiheld`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octoedge.edge.edged.layout import Layout
from octoedge.errors import OctoedgeError

if TYPE_CHECKING:
    from octoedge.edge.edged.csi import Csi

DATA = "vol_data.json"
"""Beside each volume: what is held."""
SET_UP, TEAR_DOWN = "MountVolume.SetUp", "UnmountVolume.TearDown"
"""Steps, as the kubelet calls them."""
_PLUGIN = "volumes/kubernetes.io~csi"


class CsiFailed(OctoedgeError):
    """A volume cannot be had; `step` is the kubelet's name of what failed."""

    def __init__(self, step: str, volume: str, why: object) -> None:
        super().__init__(f'{step} failed for volume "{volume}" : {why}')


def unreadable(step: str, path: Path, error: OSError) -> CsiFailed:
    """The disk does not say what is held: then a step that depends on it must wait."""
    why = f"what is held cannot be read from {path}: {error.strerror or error}; look at the node's disk (dmesg)"
    return CsiFailed(step, path.parent.name, why)


def inside(folder: Path, step: str) -> list[Path]:
    """The directories in one, which need not be there. Raises `CsiFailed` when that cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(step, folder, error) from error


def volumes_of(pod_folder: Path, step: str) -> list[Path]:
    """The directories of a pod's CSI volumes. Raises `CsiFailed` when they cannot be read."""
    return inside(pod_folder / _PLUGIN, step)


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
