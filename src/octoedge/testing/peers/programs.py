"""The Go programs of KubeEdge in a folder that the user names; nothing is fetched or built here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from octoedge.errors import InstallError

NEEDED = ("cloudcore", "edgecore")


@dataclass(frozen=True, slots=True)
class GoPrograms:
    """Go KubeEdge's two daemons."""

    cloudcore: Path
    edgecore: Path
    mapper: Path | None = None
    """Made with KubeEdge's mapper-framework and the driver in tests/peers/mapper, when somebody has built it."""


def find(folder: str) -> GoPrograms:
    """The programs in that folder. Raises `InstallError` that names every one that is missing."""
    if not folder:
        raise InstallError(
            "KUBEEDGE_BIN names no folder. Say where Go KubeEdge's cloudcore and edgecore are:"
            " make test-peers KUBEEDGE_BIN=/path/to/folder"
        )
    paths = [Path(folder).absolute() / name for name in NEEDED]
    missing = [str(path) for path in paths if not _runs(path)]
    if missing:
        raise InstallError(
            f"{' and '.join(missing)} cannot be run; KUBEEDGE_BIN must name a folder that holds"
            f" {' and '.join(NEEDED)} of KubeEdge, as its release archives or `make all` give them."
        )
    mapper = Path(folder).absolute() / "mapper"
    cloudcore, edgecore = paths
    return GoPrograms(cloudcore, edgecore, mapper if _runs(mapper) else None)


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
