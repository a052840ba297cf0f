"""Where CSI volumes of pods lie on this node, and what is raised when one cannot be had.

A disk that cannot be read says nothing: whoever needs to know must wait (`CsiFailed`).
"""

from __future__ import annotations

import os
from pathlib import Path

from octoedge.errors import OctoedgeError

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
