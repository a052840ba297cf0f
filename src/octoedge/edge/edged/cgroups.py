"""Pod cgroups: limits for a pod as a whole, below a root of our own.

CRI takes only the parent's path; making it, limiting it and removing it is edged's part. Works on version 1 (every
hierarchy) and 2, by files or (where the runtime does the same) by systemd's slices. What is written where is decided in
`limits`. A missing controller or right is no reason to refuse a pod: it is said once and the pod runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from octoedge.edge.edged import limits as decided
from octoedge.edge.edged.limits import PodLimits

log = logging.getLogger(__name__)

_CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "hugetlb")
_COMMAND_SECONDS = 10.0
Command = Callable[[Sequence[str]], Awaitable[None]]
"""Runs a program to its end; `OSError` when it fails, `TimeoutError` when it does not end."""


class Cgroups:
    """The cgroup file system at `mount`; the root itself is made when the first pod needs it."""

    def __init__(
        self, mount: Path = Path("/sys/fs/cgroup"), *, systemd: bool = False, command: Command | None = None
    ) -> None:
        self._mount = mount
        self._systemd = systemd
        self._command = command or _run
        self._said: set[str] = set()

    @property
    def unified(self) -> bool:
        """Whether this is cgroup version 2 alone."""
        return (self._mount / "cgroup.controllers").exists()

    async def create(self, parent: str, limits: PodLimits) -> None:
        """Make a cgroup and set its limits; again is fine."""
        try:
            if self._systemd:
                for command in decided.systemd_start(parent, limits, unified=self.unified):
                    await self._command(command)
            elif self.unified:
                self._create_unified(parent, limits)
            else:
                self._create_v1(parent, limits)
        except (OSError, TimeoutError) as error:
            self._complain(f"pod cgroup {parent} cannot be made: {str(error) or 'no end in time'}")

    async def remove(self, parent: str) -> bool:
        """Remove a pod's cgroup with all below it; whether nothing of it is left.

        The last process of a container may need a moment to leave: a cgroup that is still in use stays.
        """
        gone = True
        for hierarchy in self._hierarchies():
            base = hierarchy / self._place(parent)
            if base.is_dir() and self._systemd:
                return await self._stop(parent)
            if base.is_dir():
                for folder, _, _ in os.walk(base, topdown=False):
                    gone = _rmdir(Path(folder)) and gone
        return gone

    def processes(self, parent: str) -> int | None:
        """Processes and threads in a cgroup and below it; None when that cannot be known."""
        base = self._mount if self.unified else self._mount / "pids"
        try:
            return int((base / self._place(parent) / "pids.current").read_text())
        except (OSError, ValueError):
            return None

    def _place(self, parent: str) -> str:
        return (decided.slice_path(parent) if self._systemd else parent).lstrip("/")

    async def _stop(self, parent: str) -> bool:
        try:
            await self._command(decided.systemd_stop(parent))
        except (OSError, TimeoutError) as error:
            log.debug("slice of %s stays: %s", parent, error)
            return False
        return True

    def _hierarchies(self) -> Iterator[Path]:
        """Every hierarchy; in version 1 links such as cpu,cpuacct are left out, and folders where none is mounted."""
        if self.unified:
            yield self._mount
            return
        if self._mount.is_dir():
            entries = (path for path in self._mount.iterdir() if not path.is_symlink())
            yield from (path for path in entries if (path / "cgroup.procs").exists())

    def _create_v1(self, parent: str, limits: PodLimits) -> None:
        files = decided.version_1(limits)
        for hierarchy in self._hierarchies():
            if hierarchy.name == "unified":
                continue
            folder = hierarchy / parent.lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
            controllers = hierarchy.name.split(",")
            if "cpuset" in controllers:
                _inherit_cpuset(hierarchy, folder)
            for controller in controllers:
                for name, text in files.get(controller, ()):
                    self._write(folder / name, text)

    def _create_unified(self, parent: str, limits: PodLimits) -> None:
        folder = self._mount
        for part in parent.strip("/").split("/"):
            self._hand_down(folder)
            folder /= part
            folder.mkdir(exist_ok=True)
        for name, text in decided.version_2(limits):
            self._write(folder / name, text)

    def _hand_down(self, folder: Path) -> None:
        """Let groups below use the controllers that there are: one that is missing would refuse them all."""
        there = (folder / "cgroup.controllers").read_text().split()
        wanted = " ".join(f"+{controller}" for controller in _CONTROLLERS if controller in there)
        self._write(folder / "cgroup.subtree_control", wanted)

    def _write(self, file: Path, text: str) -> None:
        try:
            file.write_text(text)
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


async def _run(command: Sequence[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(_COMMAND_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise OSError(f"{' '.join(command)}: {output.decode(errors='replace').strip()[:300]}")


def _rmdir(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        log.debug("cgroup %s stays: %s", folder, error)
        return False
    return True
