"""Where edged keeps things on disk; the same places as the kubelet's, below roots that are arguments.

<root>/pods/<uid>/volumes/<plugin>/<volume>      volumes that live on disk
<root>/plugins/kubernetes.io/csi/<driver>/       volumes that are staged for all pods
<root>/pods/<uid>/etc-hosts
<root>/pods/<uid>/containers/<name>/<attempt>    termination messages
<root>/volatile/<uid>/<volume>                   volumes with secrets, on a tmpfs where possible
<root>/octoedge-leaving/<uid>                    what was <root>/pods/<uid>, being removed
<logs>/<namespace>_<pod>_<uid>/<container>/<attempt>.log
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
from pathlib import Path

from octoedge.edge.edged.mounts import MountFailed, mounted_below

_SAFE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


class Layout:
    """Paths of one edged."""

    def __init__(self, root: Path, logs: Path) -> None:
        self.root = root
        self.logs = logs

    @property
    def pods(self) -> Path:
        return self.root / "pods"

    @property
    def volatile(self) -> Path:
        """What must not reach a disk."""
        return self.root / "volatile"

    @property
    def leaving(self) -> Path:
        """Where a pod's directory goes in one step before it is removed: half of it would be nobody's."""
        return self.root / "octoedge-leaving"

    def pod(self, uid: str) -> Path:
        return self.pods / _safe(uid)

    def mark(self, uid: str) -> Path:
        """A file that says that the pod's directory is ours: another kubelet may use the same root."""
        return self.pod(uid) / ".octoedge"

    def volume(self, uid: str, plugin: str, name: str) -> Path:
        return self.pod(uid) / "volumes" / f"kubernetes.io~{plugin}" / _safe(name)

    def volatile_volume(self, uid: str, name: str) -> Path:
        return self.volatile / _safe(uid) / _safe(name)

    def csi(self, driver: str) -> Path:
        """Volumes of a CSI driver that are staged for all pods."""
        return self.root / "plugins/kubernetes.io/csi" / _safe(driver)

    def etc_hosts(self, uid: str) -> Path:
        return self.pod(uid) / "etc-hosts"

    def termination_log(self, uid: str, container: str, attempt: int) -> Path:
        return self.pod(uid) / "containers" / _safe(container) / str(attempt)

    def log_directory(self, namespace: str, name: str, uid: str) -> Path:
        return self.logs / f"{_safe(namespace)}_{_safe(name)}_{_safe(uid)}"

    def log_directories(self, uid: str) -> list[Path]:
        """Where a pod wrote logs, when only its uid is known."""
        return sorted(self.logs.glob(f"*_*_{_safe(uid)}"))

    def log_file(self, namespace: str, name: str, uid: str, container: str, attempt: int) -> Path:
        return self.log_directory(namespace, name, uid) / _safe(container) / f"{attempt}.log"

    def remove_traces(self, namespace: str, name: str, uid: str, container: str, attempt: int) -> None:
        """Remove the logs and the termination message of a container instance that is gone."""
        log = self.log_file(namespace, name, uid, container, attempt)
        for path in (*log.parent.glob(f"{log.name}*"), self.termination_log(uid, container, attempt)):
            path.unlink(missing_ok=True)


def make_private(path: Path) -> Path:
    """A directory that only root may look into, whatever the umask says; one that is there keeps its mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir()
    except FileExistsError:
        return path
    path.chmod(0o700)
    return path


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Create a file at once whole: a reader sees the old content or the new."""
    temporary = path.with_name(f".{path.name}.new")
    with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)) as file:
        file.write(content)
    temporary.chmod(mode)
    temporary.rename(path)


async def remove_tree(path: Path) -> None:
    """Remove a directory with all in it, in small steps; never through a symbolic link or a mount. Missing is fine.

    Raises `MountFailed` when something is mounted below: what it shows is not the pod's to be deleted.
    """
    device = _own_device(path)
    removed = 0
    pending = [str(path)]
    while pending:
        folders = _empty(pending[-1], device)
        if folders:
            pending += folders
            continue
        _remove_one(pending.pop())
        removed += 1
        if removed % 64 == 0:
            await asyncio.sleep(0)


def _own_device(path: Path) -> int:
    """The file system that a tree is on, when all of it is; 0 when there is no tree."""
    if not os.path.lexists(path):
        return 0
    mounts = mounted_below(path)
    if mounts:
        raise MountFailed(f"{path} is not removed, since {mounts[0]} is still mounted; unmount it")
    return os.lstat(path).st_dev


def _empty(folder: str, device: int) -> list[str]:
    """Remove the files in `folder`; the directories that are left. All must be on the file system `device`."""
    if os.path.islink(folder) or not os.path.isdir(folder):
        return []
    if os.lstat(folder).st_dev != device:
        raise MountFailed(f"{folder} is not removed: another file system has been mounted there; unmount it")
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            else:
                os.unlink(entry.path)
    return folders


def _remove_one(path: str) -> None:
    try:
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
        else:
            os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        # Nothing can be there by a name that no file can have; such a pod never ran, and must be able to end.
        if error.errno != errno.ENAMETOOLONG:
            raise


def move(path: Path, folder: Path) -> None:
    """Put a directory into another in one step; one that is not there, or could never be, is fine."""
    try:
        path.rename(make_private(folder) / path.name)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
            raise


def _safe(part: str) -> str:
    if not _SAFE.fullmatch(part):
        raise ValueError(f"{part!r} cannot be part of a path")
    return part
