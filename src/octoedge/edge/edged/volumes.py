"""Volumes: from a pod's list of them to host paths that the runtime can mount, kept current while the pod lives.

    ConfigMap, Secret, token, downward API ──render──► payload ──atomic.write──► directory (one rename per change)
    emptyDir ──► directory or tmpfs         hostPath ──► the path, checked

`prepare` is level-triggered: called again it creates only what is missing and rewrites only what changed. A directory
that a container has mounted is never replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import stat
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path, PurePosixPath

import msgspec

from octoedge.api import core
from octoedge.api.core import KeyToPath, Pod, ProjectedPart, TokenProjection, Volume
from octoedge.api.quantity import whole
from octoedge.edge.edged import atomic, downward, ownership
from octoedge.edge.edged.atomic import File, Payload
from octoedge.edge.edged.downward import Facts
from octoedge.edge.edged.layout import Layout, make_private, move, remove_tree
from octoedge.edge.edged.mounts import Mounter, MountFailed, mounted_below
from octoedge.edge.edged.objects import Objects, ObjectUnavailable
from octoedge.edge.edged.ownership import fs_group
from octoedge.edge.edged.persistent import ClaimFailed, Claims
from octoedge.edge.edged.tokens import Tokens
from octoedge.errors import OctoedgeError
from octoedge.runtime.clock import Clock

log = logging.getLogger(__name__)

_RENDERED = ("config_map", "secret", "downward_api", "projected")


class VolumeFailed(OctoedgeError):
    """A volume cannot be set up; becomes the event FailedMount."""


class Mounted(msgspec.Struct, frozen=True):
    """A volume on the host. `safe_inside`: nobody but us can plant links in it."""

    path: Path
    safe_inside: bool
    read_only: bool = False
    """Whether nobody may write to it, whatever a container asks for."""


class Volumes:
    """The volumes of all pods."""

    def __init__(
        self, layout: Layout, objects: Objects, tokens: Tokens, claims: Claims, mounter: Mounter, clock: Clock
    ) -> None:
        self._layout = layout
        self._objects = objects
        self._tokens = tokens
        self._claims = claims
        self._mounter = mounter
        self._clock = clock
        self._volatile = asyncio.Lock()
        self._set_up: dict[str, dict[str, Mounted]] = {}

    def start(self) -> None:
        """Make the roots."""
        make_private(self._layout.root)
        make_private(self._layout.pods)

    async def prepare(self, pod: Pod, facts: Facts) -> dict[str, Mounted]:
        """Set up every volume of `pod`; by volume name. Raises `VolumeFailed`."""
        uid = pod.metadata.uid
        make_private(self._layout.pod(uid))
        self._layout.mark(uid).touch()
        self._set_up[uid] = {volume.name: await self._one(pod, volume, facts) for volume in pod.spec.volumes}
        return self._set_up[uid]

    async def of(self, pod: Pod, facts: Facts) -> dict[str, Mounted]:
        """The volumes as they were set up, or set them up. Raises `VolumeFailed`."""
        return self._set_up.get(pod.metadata.uid) or await self.prepare(pod, facts)

    async def refresh(self, pod: Pod, facts: Facts) -> None:
        """Bring the content of a running pod's volumes up to date."""
        for volume in pod.spec.volumes:
            if any(getattr(volume, kind) is not None for kind in _RENDERED):
                await self._one(pod, volume, facts)

    async def remove(self, uid: str) -> None:
        """Take down everything of a pod that has ended. Raises `MountFailed`, `OSError`.

        Its directory, which says that it was here, goes last and at once: who is killed before finds it again.
        """
        folder = self._layout.pod(uid)
        volatile = self._layout.volatile / folder.name
        for path in (*mounted_below(folder), *mounted_below(volatile)):
            await self._mounter.unmount(path)
        await remove_tree(volatile)
        async with self._volatile:
            if not _entries(self._layout.volatile):
                await self._mounter.unmount(self._layout.volatile)
        await remove_tree(self._layout.leaving / folder.name)
        move(folder, self._layout.leaving)
        await remove_tree(self._layout.leaving / folder.name)
        self._tokens.forget(uid)
        self._set_up.pop(uid, None)

    def known(self) -> set[str]:
        """uids of pods of ours that have something on disk."""
        pods = {path.parent.name for path in self._layout.pods.glob("*/.octoedge")}
        return pods | set(_entries(self._layout.volatile)) | set(_entries(self._layout.leaving))

    async def _one(self, pod: Pod, volume: Volume, facts: Facts) -> Mounted:
        setup: Callable[[Pod, Volume, Facts], Awaitable[Mounted]]
        if volume.empty_dir is not None:
            setup = self._empty_dir
        elif volume.host_path is not None:
            setup = self._host_path
        elif volume.persistent_volume_claim is not None or volume.ephemeral is not None:
            setup = self._persistent
        else:
            setup = self._rendered
        try:
            return await setup(pod, volume, facts)
        except (ObjectUnavailable, ClaimFailed, MountFailed, OSError, ValueError) as error:
            raise VolumeFailed(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error

    async def _empty_dir(self, pod: Pod, volume: Volume, _facts: Facts) -> Mounted:
        source = volume.empty_dir
        assert source is not None
        path = self._layout.volume(pod.metadata.uid, "empty-dir", volume.name)
        path.mkdir(parents=True, exist_ok=True)
        if source.medium == "Memory":
            await self._mounter.tmpfs(path, whole(source.size_limit) if source.size_limit else 0, 0o777)
        elif source.medium:
            raise ValueError(f"emptyDir medium {source.medium!r} is not supported; use Memory or leave it out")
        group = fs_group(pod)
        path.chmod(0o777 if group is None else 0o2777)
        if group is not None:
            os.chown(path, -1, group)
        return Mounted(path, safe_inside=False)

    async def _host_path(self, _pod: Pod, volume: Volume, _facts: Facts) -> Mounted:
        source = volume.host_path
        assert source is not None
        path = _on_host(source.path)
        check_host_path(path, source.type)
        return Mounted(path, safe_inside=False)

    async def _persistent(self, pod: Pod, volume: Volume, _facts: Facts) -> Mounted:
        place = await self._claims.place(pod, volume)
        path = _on_host(place.path)
        if place.kind == "local":
            check_host_path(path, "Directory")
            await ownership.give(path, pod, read_only=place.read_only)
        else:
            check_host_path(path, place.type)
        return Mounted(path, safe_inside=False, read_only=place.read_only)

    async def _rendered(self, pod: Pod, volume: Volume, facts: Facts) -> Mounted:
        uid = pod.metadata.uid
        payload = await self._render(pod, volume, facts)
        if _secret(volume):
            path = self._layout.volatile_volume(uid, volume.name)
            async with self._volatile:
                await self._hold_volatile()
                _make_volume(path)
        else:
            path = self._layout.volume(uid, "configmap" if volume.config_map else "downward-api", volume.name)
            _make_volume(path)
        stamp = f"{self._clock.now():.9f}".replace(".", "_")
        if atomic.write(path, payload, stamp, fs_group(pod)):
            log.debug("= volume %s of pod %s/%s written", volume.name, pod.metadata.namespace, pod.metadata.name)
        return Mounted(path, safe_inside=True)

    async def _hold_volatile(self) -> None:
        """A tmpfs for secrets where the system allows one; mounted while a pod needs it."""
        root = self._layout.volatile
        if _entries(root):
            return
        make_private(root).chmod(0o700)
        try:
            await self._mounter.tmpfs(root, 0, 0o700)
        except MountFailed as error:
            log.warning("volumes with secrets are kept on disk, readable by root only: %s", error)

    async def _render(self, pod: Pod, volume: Volume, facts: Facts) -> Payload:
        if volume.config_map is not None:
            source = volume.config_map
            table = await self._objects.config_map(pod.metadata.namespace, source.name, optional=source.optional)
            return project(table, source.items, source.default_mode, source.optional, f'ConfigMap "{source.name}"')
        if volume.secret is not None:
            origin = volume.secret
            table = await self._objects.secret(pod.metadata.namespace, origin.secret_name, optional=origin.optional)
            return project(table, origin.items, origin.default_mode, origin.optional, f'Secret "{origin.secret_name}"')
        if volume.downward_api is not None:
            return _downward(pod, facts, volume.downward_api.items, volume.downward_api.default_mode)
        if volume.projected is None:
            raise ValueError("this kind of volume is not supported")
        payload: Payload = {}
        for part in volume.projected.sources:
            payload.update(await self._part(pod, facts, part, volume.projected.default_mode))
        return payload

    async def _part(self, pod: Pod, facts: Facts, part: ProjectedPart, mode: int) -> Payload:
        namespace = pod.metadata.namespace
        if part.config_map is not None:
            found = part.config_map
            table = await self._objects.config_map(namespace, found.name, optional=found.optional)
            return project(table, found.items, mode, found.optional, f'ConfigMap "{found.name}"')
        if part.secret is not None:
            found = part.secret
            table = await self._objects.secret(namespace, found.name, optional=found.optional)
            return project(table, found.items, mode, found.optional, f'Secret "{found.name}"')
        if part.downward_api is not None:
            return _downward(pod, facts, part.downward_api.items, mode)
        if part.service_account_token is not None:
            return await self._token(pod, part.service_account_token, mode)
        raise ValueError("this kind of projected source is not supported")

    async def _token(self, pod: Pod, source: TokenProjection, mode: int) -> Payload:
        token = await self._tokens.token(pod, source)
        # As the kubelet: fsGroup gives the group the right to read, and then nobody else has it.
        return {source.path: File(token.encode(), mode if fs_group(pod) is None else 0o600)}

    async def sub_path(self, pod: Pod, container: str, number: int, volume: Mounted, sub_path: str) -> Path:
        """The host path of a subPath. Raises `VolumeFailed` when it leads out of the volume.

        Where a container could swap a directory for a link behind our back, the path is held open and bound.
        """
        try:
            atomic.check_path(sub_path)
            if volume.safe_inside:
                return inside(volume.path, sub_path)
            target = self._layout.pod(pod.metadata.uid) / "volume-subpaths" / container / str(number)
            await self._mounter.unmount(target)
            held = hold(volume.path, sub_path)
            try:
                _mount_point(target, held)
                await self._mounter.bind(f"/proc/{os.getpid()}/fd/{held}", target)
            finally:
                os.close(held)
        except (OSError, ValueError, MountFailed) as error:
            raise VolumeFailed(f"subPath {sub_path!r} cannot be mounted: {error}") from error
        return target


def project(
    table: dict[str, bytes] | None, items: Iterable[KeyToPath], mode: int, optional: bool, what: str
) -> Payload:
    """The files of a ConfigMap or Secret: all its keys, or the listed ones."""
    items = list(items)
    table = table or {}
    if not items:
        return {key: File(content, mode) for key, content in table.items()}
    payload: Payload = {}
    for item in items:
        if item.key in table:
            payload[item.path] = File(table[item.key], mode if item.mode is None else item.mode)
        elif not optional:
            raise ValueError(f"{what} has no key {item.key!r}")
    return payload


def inside(volume: Path, sub_path: str) -> Path:
    """The real path of `sub_path` in a volume that only we write; `ValueError` when it leads out of it."""
    path = Path(os.path.realpath(volume / sub_path))
    if not path.is_relative_to(os.path.realpath(volume)):
        raise ValueError("it leads out of its volume")
    if not path.exists():
        raise ValueError("it does not exist in its volume")
    return path


def hold(volume: Path, sub_path: str) -> int:
    """An open descriptor of `sub_path`, walked without following links; missing directories are made."""
    here = os.open(volume, os.O_PATH | os.O_DIRECTORY)
    for part in PurePosixPath(sub_path).parts:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o750, dir_fd=here)
            following = os.open(part, os.O_PATH | os.O_NOFOLLOW, dir_fd=here)
        finally:
            os.close(here)
        here = following
    if stat.S_ISLNK(os.stat(here).st_mode):
        os.close(here)
        raise ValueError("it is a symbolic link")
    return here


def _mount_point(target: Path, held: int) -> None:
    """Something of the same kind to mount over."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISDIR(os.fstat(held).st_mode):
        target.mkdir(exist_ok=True)
    else:
        target.touch()


_HOST_PATH_TYPES: dict[str, tuple[str, Callable[[int], bool]]] = {
    "Directory": ("a directory", stat.S_ISDIR),
    "File": ("a file", stat.S_ISREG),
    "Socket": ("a socket", stat.S_ISSOCK),
    "CharDevice": ("a character device", stat.S_ISCHR),
    "BlockDevice": ("a block device", stat.S_ISBLK),
}


def check_host_path(path: Path, kind: str) -> None:
    """Check or create a hostPath as its type says; `ValueError` when it is something else."""
    if kind == "DirectoryOrCreate" and not path.exists():
        path.mkdir(parents=True, mode=0o755)
    if kind == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    expected = _HOST_PATH_TYPES.get(kind.removesuffix("OrCreate"))
    if expected is None:
        if kind:
            raise ValueError(f"hostPath type {kind!r} is unknown")
        return
    if not path.exists() or not expected[1](path.stat().st_mode):
        raise ValueError(f"hostPath type check failed: {path} is not {expected[0]}")


def _on_host(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError(f"hostPath {text!r} must be absolute and without '..'")
    return path


def _entries(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []


def _make_volume(path: Path) -> None:
    if not path.is_dir():
        make_private(path.parent)
        path.mkdir()
        path.chmod(0o755)


def _downward(pod: Pod, facts: Facts, items: Iterable[core.DownwardItem], mode: int) -> Payload:
    payload: Payload = {}
    for item in items:
        if item.field_ref is not None:
            text = downward.field(item.field_ref, pod, facts)
        elif item.resource_field_ref is not None:
            name = item.resource_field_ref.container_name
            whose = next((c for c in pod.spec.containers if c.name == name), None)
            if whose is None:
                raise ValueError(f"resourceFieldRef names container {name!r}, which the pod does not have")
            text = downward.resource_field(item.resource_field_ref, whose, facts)
        else:
            raise ValueError(f"{item.path}: neither fieldRef nor resourceFieldRef")
        payload[item.path] = File(text.encode(), mode if item.mode is None else item.mode)
    return payload


def _secret(volume: Volume) -> bool:
    projected = volume.projected
    return volume.secret is not None or projected is not None
