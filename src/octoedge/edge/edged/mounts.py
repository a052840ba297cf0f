"""Mounting on the host: a tmpfs for what must not reach a disk, and a safe hold on a path inside a volume.

Done by the system's own `mount` and `umount`, by argument list. Where the process may not mount, `MountFailed` says so
and the caller decides whether a plain directory will do.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from octoedge.errors import OctoedgeError
from octoedge.runtime.mountinfo import mounted

_DEADLINE = 30.0


class MountFailed(OctoedgeError):
    """The system refused to mount or unmount."""


class Mounter(Protocol):
    """What volumes need of the system."""

    async def tmpfs(self, path: Path, size: int, mode: int) -> None:
        """Make `path` a tmpfs of at most `size` bytes (0: the kernel's default); nothing to do if it is one."""
        ...

    async def hugepages(self, path: Path, page: int) -> None:
        """Make `path` a file system of pages of so many bytes; nothing to do if it is one."""
        ...

    async def nfs(self, source: str, path: Path, options: Sequence[str]) -> None:
        """Make `path` show `server:/path`; nothing to do if something is mounted there."""
        ...

    async def bind(self, source: str, target: Path) -> None:
        """Make `target` show `source`."""
        ...

    async def unmount(self, path: Path) -> None:
        """Undo any of them; no error when nothing is mounted there."""
        ...

    def below(self, folder: Path) -> list[Path]:
        """What is mounted at or below `folder`, what lies deepest first."""
        ...


class SystemMounter:
    """The machine's own mounts."""

    async def tmpfs(self, path: Path, size: int, mode: int) -> None:
        if _is_mount(path):
            return
        options = f"mode={mode:o},nosuid,nodev" + (f",size={size}" if size else "")
        await _run("mount", "-t", "tmpfs", "-o", options, "octoedge", str(path))

    async def hugepages(self, path: Path, page: int) -> None:
        if not _is_mount(path):
            await _run("mount", "-t", "hugetlbfs", "-o", f"pagesize={page},nosuid,nodev", "octoedge", str(path))

    async def nfs(self, source: str, path: Path, options: Sequence[str]) -> None:
        # The table of mounts is asked, not the path: a server that is away would hold up who touches it.
        if mounted_below(path):
            return
        if not _helper("mount.nfs"):
            text = f"{source} cannot be mounted: there is no program mount.nfs on this node; install nfs-common "
            raise MountFailed(text + "(Debian, Ubuntu) or nfs-utils (others)")
        os.makedirs(path, exist_ok=True)
        with_options = ("-o", ",".join(options)) if options else ()
        await _run("mount", "-t", "nfs", *with_options, source, str(path))

    async def bind(self, source: str, target: Path) -> None:
        await _run("mount", "--no-canonicalize", "--bind", source, str(target))

    async def unmount(self, path: Path) -> None:
        # A path in the mount table, not os.path.ismount: a bind of a file or of the same file system is one too.
        for _ in range(mounted().count(_as_shown(path))):
            await _run("umount", str(path))

    def below(self, folder: Path) -> list[Path]:
        return mounted_below(folder)


def _helper(name: str) -> bool:
    """Whether `mount` finds its helper: it looks in these places whatever PATH says."""
    return any(os.access(f"{folder}/{name}", os.X_OK) for folder in ("/sbin", "/usr/sbin", "/usr/local/sbin"))


def _is_mount(path: Path) -> bool:
    path.mkdir(parents=True, exist_ok=True)
    return os.path.ismount(path)


def mounted_below(folder: Path) -> list[Path]:
    """Mount points at or below `folder`; those that lie deepest first."""
    prefix = _as_shown(folder)
    found = {point for point in mounted() if point == prefix or point.startswith(prefix + "/")}
    return [Path(point) for point in sorted(found, reverse=True)]


def _as_shown(path: Path) -> str:
    """The path as the table of mounts has it: without links. The last part may itself be what is mounted, or gone."""
    return os.path.join(os.path.realpath(path.parent), path.name)


async def _run(*command: str) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        raise MountFailed(f"{' '.join(command)}: {error}") from error
    try:
        async with asyncio.timeout(_DEADLINE):
            output, _ = await process.communicate()
    except TimeoutError as error:
        raise MountFailed(f"{' '.join(command)}: no end in {_DEADLINE:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        raise MountFailed(f"{' '.join(command)}: {output.decode(errors='replace').strip()[:300]}")
