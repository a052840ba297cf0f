"""Volumes: from a pod's list of them to host paths that the runtime can mount, kept current while the pod lives.

    ConfigMap, Secret, token, downward API ──render──► payload ──atomic.write──► directory (one rename per change)
    emptyDir ──► directory, tmpfs, hugetlbfs     hostPath ──► the path, checked     csi ──► its driver     nfs ──► mount

`prepare` is level-triggered: called again it creates only what is missing and rewrites only what changed. A directory
that a container has mounted is never replaced.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from octoedge.api import core
from octoedge.api.core import KeyToPath, Pod, ProjectedPart, TokenProjection, Volume
from octoedge.api.quantity import whole
from octoedge.edge.edged import atomic, downward, ownership
from octoedge.edge.edged.atomic import File, Payload
from octoedge.edge.edged.csidoor import CsiDoor
from octoedge.edge.edged.csifiles import CsiFailed
from octoedge.edge.edged.downward import Facts
from octoedge.edge.edged.layout import Layout, make_private, move, remove_tree
from octoedge.edge.edged.mounts import Mounter, MountFailed
from octoedge.edge.edged.objects import Objects, ObjectUnavailable
from octoedge.edge.edged.ownership import fs_group
from octoedge.edge.edged.paths import check_host_path, hold, inside, mount_point, on_host
from octoedge.edge.edged.persistent import ClaimFailed, Claims, Place
from octoedge.edge.edged.tokens import Tokens
from octoedge.errors import OctoedgeError
from octoedge.runtime.clock import Clock

if TYPE_CHECKING:
    from octoedge.edge.edged.csivolume import CsiVolume

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
        self,
        layout: Layout,
        objects: Objects,
        tokens: Tokens,
        claims: Claims,
        csi: CsiDoor,
        mounter: Mounter,
        clock: Clock,
    ) -> None:
        self._layout = layout
        self._objects = objects
        self._tokens = tokens
        self._claims = claims
        self._csi = csi
        self._mounter = mounter
        self._clock = clock
        self._volatile = asyncio.Lock()
        self._ways: dict[str, Callable[[Pod, Volume, Facts], Awaitable[Mounted]]] = {
            "empty_dir": self._empty_dir,
            "host_path": self._host_path,
            "persistent_volume_claim": self._persistent,
            "ephemeral": self._persistent,
            "csi": self._inline_csi,
            "nfs": self._inline_nfs,
        }
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
        for volume in pod.spec.volumes:
            await self._refresh_csi(pod, volume)

    async def remove(self, uid: str) -> None:
        """Take down everything of a pod that has ended. Raises `CsiFailed`, `MountFailed`, `OSError`.

        Its directory, which says that it was here, goes last and at once: who is killed before finds it again.
        """
        folder = self._layout.pod(uid)
        volatile = self._layout.volatile / folder.name
        await self._csi.release(uid)
        for path in (*self._mounter.below(folder), *self._mounter.below(volatile)):
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
        setup = next((way for kind, way in self._ways.items() if getattr(volume, kind) is not None), self._rendered)
        try:
            return await setup(pod, volume, facts)
        except CsiFailed as error:
            raise VolumeFailed(str(error)) from error
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
            await self._mounter.hugepages(path, page_size(pod, source.medium))
        group = fs_group(pod)
        path.chmod(0o777 if group is None else 0o2777)
        if group is not None:
            os.chown(path, -1, group)
        return Mounted(path, safe_inside=False)

    async def _host_path(self, _pod: Pod, volume: Volume, _facts: Facts) -> Mounted:
        source = volume.host_path
        assert source is not None
        path = on_host(source.path)
        check_host_path(path, source.type)
        return Mounted(path, safe_inside=False)

    async def _persistent(self, pod: Pod, volume: Volume, _facts: Facts) -> Mounted:
        place = await self._claims.place(pod, volume)
        if place.kind == "csi":
            return await self._csi_volume(pod, volume, _csi_of(place))
        if place.kind == "nfs":
            server = str(place.source.get("server") or "")
            return await self._nfs(pod, place.name, f"{server}:{place.path}", place.options, place.read_only)
        path = on_host(place.path)
        if place.kind == "local":
            check_host_path(path, "Directory")
            await ownership.give(path, pod, read_only=place.read_only)
        else:
            check_host_path(path, place.type)
        return Mounted(path, safe_inside=False, read_only=place.read_only)

    async def _inline_csi(self, pod: Pod, volume: Volume, _facts: Facts) -> Mounted:
        return await self._csi_volume(pod, volume, _inline(volume, pod))

    async def _csi_volume(self, pod: Pod, volume: Volume, wish: CsiVolume) -> Mounted:
        path = await self._csi.open().mount(pod, volume.name, wish)
        return Mounted(path, safe_inside=False, read_only=wish.read_only)

    async def _refresh_csi(self, pod: Pod, volume: Volume) -> None:
        """Publish anew where the driver wants that."""
        try:
            wish = await self._held_csi(pod, volume)
            if wish is not None:
                await self._csi.open().refresh(pod, wish)
        except CsiFailed as error:
            raise VolumeFailed(str(error)) from error

    async def _held_csi(self, pod: Pod, volume: Volume) -> CsiVolume | None:
        if volume.csi is not None:
            return _inline(volume, pod)
        if (volume.persistent_volume_claim or volume.ephemeral) is None or not self._csi.holds(pod.metadata.uid):
            return None
        try:
            place = await self._claims.place(pod, volume)
        except ClaimFailed:
            return None  # It is mounted; who took the claim away has his reasons.
        return _csi_of(place) if place.kind == "csi" else None

    async def _inline_nfs(self, pod: Pod, volume: Volume, _facts: Facts) -> Mounted:
        source = volume.nfs
        assert source is not None
        return await self._nfs(pod, volume.name, f"{source.server}:{source.path}", (), source.read_only)

    async def _nfs(self, pod: Pod, name: str, source: str, options: Iterable[str], read_only: bool) -> Mounted:
        path = self._layout.volume(pod.metadata.uid, "nfs", name)
        await self._mounter.nfs(source, path, (*options, *(("ro",) if read_only else ())))
        return Mounted(path, safe_inside=False, read_only=read_only)

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
                mount_point(target, held)
                await self._mounter.bind(f"/proc/{os.getpid()}/fd/{held}", target)
            finally:
                os.close(held)
        except (OSError, ValueError, MountFailed) as error:
            raise VolumeFailed(f"subPath {sub_path!r} cannot be mounted: {error}") from error
        return target


def page_size(pod: Pod, medium: str) -> int:
    """Bytes of a page of an emptyDir on huge pages; `ValueError` when the pod does not ask for such pages."""
    asked = {
        name.removeprefix("hugepages-")
        for container in (*pod.spec.init_containers, *pod.spec.containers)
        for name in (*container.resources.requests, *container.resources.limits)
        if name.startswith("hugepages-")
    }
    if medium == "HugePages":
        if len(asked) != 1:
            sizes = ", ".join(sorted(asked)) or "none"
            raise ValueError(f"medium HugePages wants containers that ask for pages of one size; they ask for: {sizes}")
        return whole(asked.pop())
    size = medium.removeprefix("HugePages-")
    if size == medium:
        raise ValueError(f"emptyDir medium {medium!r} is unknown; it is Memory, HugePages, HugePages-SIZE or left out")
    if size not in asked:
        raise ValueError(f"medium {medium} wants a container that asks for hugepages-{size}")
    return whole(size)


def _inline(volume: Volume, pod: Pod) -> CsiVolume:
    from octoedge.edge.edged import csivolume

    assert volume.csi is not None
    return csivolume.inline(volume.csi, pod, volume.name)


def _csi_of(place: Place) -> CsiVolume:
    from octoedge.edge.edged import csivolume

    return csivolume.persistent(place.volume, claim=place.claim, read_only=place.read_only)


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
