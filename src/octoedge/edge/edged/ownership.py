"""Gives a volume to a pod's fsGroup, as the kubelet does: every file its group, readable (and writable) by it.

Links are not followed: what they lead to is not of the volume. Done in small steps, so that nothing waits long.
"""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

from octoedge.api.core import Pod

_STEP = 256
_READ, _WRITE = 0o440, 0o660
_DIRECTORY = 0o2110
"""setgid, so that new files get the group too, and the right to enter."""


def fs_group(pod: Pod) -> int | None:
    """The group that volumes are given to."""
    return pod.spec.security_context.fs_group if pod.spec.security_context else None


async def give(path: Path, pod: Pod, *, read_only: bool = False) -> None:
    """Give a volume with all in it to the pod's fsGroup, if it has one."""
    group, context = fs_group(pod), pod.spec.security_context
    if group is None or context is None:
        return
    mask = _READ if read_only else _WRITE
    if context.fs_group_change_policy == "OnRootMismatch" and _fits(path, group, mask):
        return
    done = 0
    # The root last: what is cut short is then begun anew.
    for folder, _, files in os.walk(path, topdown=False):
        for name in files:
            _one(os.path.join(folder, name), group, mask)
        _one(folder, group, mask)
        done += len(files) + 1
        if done >= _STEP:
            done = 0
            await asyncio.sleep(0)


def _fits(path: Path, group: int, mask: int) -> bool:
    now = path.stat()
    return now.st_gid == group and now.st_mode & (mask | _DIRECTORY) == mask | _DIRECTORY


def _one(path: str, group: int, mask: int) -> None:
    try:
        now = os.lstat(path)
        os.lchown(path, -1, group)
        if not stat.S_ISLNK(now.st_mode):
            wanted = mask | _DIRECTORY if stat.S_ISDIR(now.st_mode) else mask
            os.chmod(path, stat.S_IMODE(now.st_mode) | wanted, follow_symlinks=True)
    except FileNotFoundError:
        return  # Somebody else uses the volume too.
