"""What pods hold of CSI: a file beside each mount. Only a file that is not there says that nothing is held.

A disk that cannot be read just now says nothing: who wants to know for a step of his is refused it (`CsiFailed`, again
later), and who only wants to show what is held shows what was seen last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from octoedge.edge.edged.csifiles import DATA, TEAR_DOWN, CsiFailed, inside, unreadable, volumes_of
from octoedge.edge.edged.csivolume import PERSISTENT
from octoedge.edge.edged.layout import Layout
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

T = TypeVar("T")
_DISK = "CSI volumes on this node"


class Held(msgspec.Struct, frozen=True):
    """A volume that a pod holds; the kubelet's file with some more in it."""

    name: str = msgspec.field(name="specVolID")
    handle: str = msgspec.field(name="volumeHandle")
    driver: str = msgspec.field(name="driverName")
    node: str = msgspec.field(name="nodeName")
    attachment: str = msgspec.field(name="attachmentID", default="")
    mode: str = msgspec.field(name="volumeLifecycleMode", default=PERSISTENT)
    published: bool = False
    """Whether all is done; until then each step is repeated."""
    claim: str = ""
    volume: str = ""
    """The pod's name of it."""


class HeldVolumes:
    """The files of all pods of one node."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._seen: dict[Path, Held] = {}
        self._said = SaidOnce(log)

    def of(self, uid: str) -> list[tuple[Path, Held]]:
        """What a pod holds, by file. Raises `CsiFailed` when that cannot be read."""
        return [(file, held) for file in _files(self._layout.pod(uid), TEAR_DOWN) if (held := read(file, TEAR_DOWN))]

    def holders(self, held: Held) -> Iterator[Path]:
        """The files of all pods that hold the same volume. Raises `CsiFailed` when one cannot be read."""
        for pod in inside(self._layout.pods, TEAR_DOWN):
            for file in _files(pod, TEAR_DOWN):
                other = read(file, TEAR_DOWN)
                if other is not None and (other.driver, other.handle) == (held.driver, held.handle):
                    yield file

    def shown(self) -> tuple[dict[Path, Held], bool]:
        """What all pods hold, by file, as last seen where it cannot be read now; and whether nothing may be missing."""
        found: dict[Path, Held] = {}
        failed: dict[Path, CsiFailed] = {}
        for pod in _tried(inside, self._layout.pods, failed) or ():
            for file in _tried(_files, pod, failed) or ():
                held = _tried(read, file, failed)
                if held is not None:
                    found[file] = held
        kept = {path: [file for file in self._seen if file.is_relative_to(path)] for path in failed}
        for files in kept.values():
            found.update({file: self._seen[file] for file in files})
        self._seen = found
        self._say(list(failed.values()))
        return found, all(kept.values())

    def _say(self, failed: list[CsiFailed]) -> None:
        if failed:
            self._said.trouble(_DISK, f"{failed[0]}; what was held before is shown as held")
        else:
            self._said.over(_DISK, "what is held can be read again")


def read(file: Path, step: str) -> Held | None:
    """What is held there, if anything; raises `CsiFailed` at `step` when the disk does not say."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Held)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(step, file, error) from error
    except msgspec.DecodeError:
        return None  # Nothing was asked of a driver before this was whole.


def _files(pod_folder: Path, step: str) -> list[Path]:
    return [folder / DATA for folder in volumes_of(pod_folder, step)]


def _tried(what: Callable[[Path, str], T], path: Path, failed: dict[Path, CsiFailed]) -> T | None:
    try:
        return what(path, TEAR_DOWN)
    except CsiFailed as error:
        failed[path] = error
        return None
