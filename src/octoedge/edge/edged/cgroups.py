"""Pod cgroups: limits for a pod as a whole, below a root of our own.

CRI takes only the parent's path; making it, limiting it and removing it is edged's part. Works on version 1 (every
hierarchy) and 2. A missing controller or right is no reason to refuse a pod: it is said once and the pod runs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from octoedge.edge.edged.cri.fields import Resources

log = logging.getLogger(__name__)

_CONTROLLERS = "+cpu +memory +pids"


class Cgroups:
    """The cgroup file system at `mount`; the root itself is made when the first pod needs it."""

    def __init__(self, mount: Path = Path("/sys/fs/cgroup")) -> None:
        self._mount = mount
        self._said: set[str] = set()

    @property
    def unified(self) -> bool:
        """Whether this is cgroup version 2 alone."""
        return (self._mount / "cgroup.controllers").exists()

    def create(self, parent: str, limits: Resources) -> None:
        """Make a pod's cgroup and set its limits; again is fine."""
        try:
            if self.unified:
                self._create_unified(parent, limits)
            else:
                self._create_v1(parent, limits)
        except OSError as error:
            self._complain(f"pod cgroup {parent} cannot be made: {error}")

    def remove(self, parent: str) -> bool:
        """Remove a pod's cgroup with all below it; whether nothing of it is left.

        The last process of a container may need a moment to leave: a cgroup that is still in use stays.
        """
        gone = True
        for hierarchy in self._hierarchies():
            base = hierarchy / parent.lstrip("/")
            if base.is_dir():
                for folder, _, _ in os.walk(base, topdown=False):
                    gone = _rmdir(Path(folder)) and gone
        return gone

    def processes(self, parent: str) -> int | None:
        """Processes and threads in a cgroup and below it; None when that cannot be known."""
        base = self._mount if self.unified else self._mount / "pids"
        try:
            return int((base / parent.lstrip("/") / "pids.current").read_text())
        except (OSError, ValueError):
            return None

    def _hierarchies(self) -> Iterator[Path]:
        """Every hierarchy; in version 1 links such as cpu,cpuacct are left out, and folders where none is mounted."""
        if self.unified:
            yield self._mount
            return
        if self._mount.is_dir():
            entries = (path for path in self._mount.iterdir() if not path.is_symlink())
            yield from (path for path in entries if (path / "cgroup.procs").exists())

    def _create_v1(self, parent: str, limits: Resources) -> None:
        for hierarchy in self._hierarchies():
            if hierarchy.name == "unified":
                continue
            folder = hierarchy / parent.lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
            names = set(hierarchy.name.split(","))
            if "cpuset" in names:
                _inherit_cpuset(hierarchy, folder)
            if "cpu" in names:
                self._write(folder / "cpu.shares", limits.cpu_shares)
                self._write(folder / "cpu.cfs_quota_us", limits.cpu_quota)
            if "memory" in names:
                self._write(folder / "memory.limit_in_bytes", limits.memory_limit_in_bytes)

    def _create_unified(self, parent: str, limits: Resources) -> None:
        folder = self._mount
        for part in parent.strip("/").split("/"):
            (folder / "cgroup.subtree_control").write_text(_CONTROLLERS)
            folder /= part
            folder.mkdir(exist_ok=True)
        self._write(folder / "cpu.weight", _weight(limits.cpu_shares))
        if limits.cpu_quota:
            (folder / "cpu.max").write_text(f"{limits.cpu_quota} {limits.cpu_period}")
        self._write(folder / "memory.max", limits.memory_limit_in_bytes)

    def _write(self, file: Path, value: int) -> None:
        if not value:
            return
        try:
            file.write_text(str(value))
        except OSError as error:
            self._complain(f"{file.name} cannot be limited: {error.strerror}")

    def _complain(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning("%s; pods run without that limit", text)


def may_lower_oom_score() -> bool:
    """Whether this system lets root give a negative oom_score_adj (CAP_SYS_RESOURCE)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return bool(int(line.split()[1], 16) >> 24 & 1)
    return False


def _inherit_cpuset(hierarchy: Path, folder: Path) -> None:
    """A new cpuset is empty and takes no process until it has CPUs and memory nodes."""
    steps = [folder, *folder.relative_to(hierarchy).parents[:-1]]
    for step in reversed([hierarchy / step for step in steps]):
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (step / name).exists() and not (step / name).read_text().strip():
                (step / name).write_text((step.parent / name).read_text())


def _weight(shares: int) -> int:
    """cgroup v2's weight for v1's shares, as the kubelet converts."""
    return 1 + (max(shares, 2) - 2) * 9999 // 262142 if shares else 0


def _rmdir(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        log.debug("cgroup %s stays: %s", folder, error)
        return False
    return True
