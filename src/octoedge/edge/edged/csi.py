"""CSI volumes on this node: staged once for all pods, published for each, and taken back in the other order.

    attached? ──► NodeStageVolume ──► NodePublishVolume ──► fsGroup          NodeUnpublishVolume ──► NodeUnstageVolume

What a pod holds stands in a file beside the mount before the driver is asked for anything, and goes when the driver has
given everything back: whoever is killed in between begins the same step again, and every step may be repeated.

<root>/pods/<uid>/volumes/kubernetes.io~csi/<name>/vol_data.json, mount
<root>/plugins/kubernetes.io/csi/<driver>/<hash of the handle>/globalmount
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from octoedge.api.core import Pod, TokenProjection
from octoedge.edge.edged import csiheld, csivolume, ownership
from octoedge.edge.edged.csiapi import (
    Able,
    CsiError,
    PublishRequest,
    StageRequest,
    StatsRequest,
    UnpublishRequest,
    UnstageRequest,
)
from octoedge.edge.edged.csidrivers import Drivers, Registered
from octoedge.edge.edged.csifiles import DATA, SET_UP, TEAR_DOWN, CsiFailed
from octoedge.edge.edged.csiheld import Held, HeldVolumes
from octoedge.edge.edged.csivolume import EPHEMERAL, PERSISTENT, UNKNOWN, CsiVolume, DriverRules
from octoedge.edge.edged.layout import Layout, make_private, write_file
from octoedge.edge.edged.objects import Objects, ObjectUnavailable
from octoedge.edge.edged.tokens import Tokens
from octoedge.edge.ports import Metadata
from octoedge.errors import ApiError, DeadlineError, OfflineError
from octoedge.protocol.resource import CLUSTER, Resource

log = logging.getLogger(__name__)

_REPUBLISH = 60.0
_TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"
_STATS_SECONDS = 3.0
_NO_DRIVER = "driver name {} not found in the list of registered CSI drivers"


class Csi:
    """The CSI volumes of one node; `changed` is told when what is attached comes into use or out of it."""

    def __init__(
        self,
        layout: Layout,
        node: str,
        metadata: Metadata,
        objects: Objects,
        tokens: Tokens,
        drivers: Drivers,
        below: Callable[[Path], list[Path]],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._layout = layout
        self._node = node
        self._metadata = metadata
        self._objects = objects
        self._tokens = tokens
        self.drivers = drivers
        self._below = below
        self._changed = changed
        self._held = HeldVolumes(layout)
        self._locks: weakref.WeakValueDictionary[tuple[str, str], asyncio.Lock] = weakref.WeakValueDictionary()

    async def mount(self, pod: Pod, volume: str, wish: CsiVolume) -> Path:
        """Where the volume is mounted for the pod, after all that takes. Raises `CsiFailed`; again is fine."""
        folder = self._folder(pod, wish)
        async with self._alone(wish.driver, wish.handle):
            if not self._is_published(folder):
                rules = await self._rules(wish.driver)
                _check_mode(wish, rules)
                await self._bring(pod, volume, wish, rules, folder)
                if rules.requires_republish:
                    self._tokens.again(pod.metadata.uid, _REPUBLISH)
        return folder / "mount"

    async def refresh(self, pod: Pod, wish: CsiVolume) -> None:
        """Publish once more, for drivers that want that on the beat. Raises `CsiFailed`."""
        rules, folder = await self._rules(wish.driver), self._folder(pod, wish)
        if not rules.requires_republish:
            return
        self._tokens.again(pod.metadata.uid, _REPUBLISH)
        async with self._alone(wish.driver, wish.handle):
            if self._is_published(folder):
                context = await self._attached(wish, rules)
                await self._publish(pod, wish, rules, folder, self._driver(wish), context)

    async def release(self, uid: str) -> None:
        """Take back all that a pod holds. Raises `CsiFailed` while a driver does not let go."""
        for file, held in self._held.of(uid):
            async with self._alone(held.driver, held.handle):
                await self._take_back(held, file)
            if held.attachment:
                self._changed()

    def attached_in_use(self) -> list[str] | None:
        """Attached volumes that pods here hold: they must not be detached (volumesInUse of the node).

        None when that is not certain, for the disk does not say: then what the cloud knows stands.
        """
        found, certain = self._held.shown()
        if not certain:
            return None
        return sorted({f"kubernetes.io/csi/{one.driver}^{one.handle}" for one in found.values() if one.attachment})

    async def stats(self) -> dict[str, list[dict[str, Any]]]:
        """How full volumes are, by pod uid; those whose driver does not say are left out."""
        held, _ = self._held.shown()
        found = await asyncio.gather(*(self._usage(file, one) for file, one in held.items()))
        by_pod: dict[str, list[dict[str, Any]]] = {}
        for file, shown in zip(held, found, strict=True):
            if shown:
                by_pod.setdefault(file.parents[3].name, []).append(shown)
        return by_pod

    async def _usage(self, file: Path, held: Held) -> dict[str, Any]:
        known = self.drivers.find(held.driver)
        if known is None or Able.STATS not in known.abilities or not held.published:
            return {}
        staging = str(self._staging(held.driver, held.handle)) if Able.STAGE in known.abilities else ""
        try:
            async with asyncio.timeout(_STATS_SECONDS):
                answer = await known.driver.stats(StatsRequest(held.handle, str(file.parent / "mount"), staging))
        except (CsiError, TimeoutError) as error:
            log.debug("how full volume %s is cannot be known: %s", held.name, error)
            return {}
        shown: dict[str, Any] = {"name": held.volume}
        if held.claim:
            namespace, _, name = held.claim.partition("/")
            shown["pvcRef"] = {"namespace": namespace, "name": name}
        for one in answer.usage:
            names = _USAGE.get(one.unit, ())
            shown.update(zip(names, (one.available, one.total, one.used), strict=False))
        return shown

    async def _bring(self, pod: Pod, volume: str, wish: CsiVolume, rules: DriverRules, folder: Path) -> None:
        """All steps, in order."""
        context = await self._attached(wish, rules)
        known = self._driver(wish)
        attachment = csivolume.attachment_name(wish, self._node) if _attaches(wish, rules) else ""
        claim = f"{pod.metadata.namespace}/{wish.claim}" if wish.claim else ""
        held = Held(wish.name, wish.handle, wish.driver, self._node, attachment, wish.mode, claim=claim, volume=volume)
        make_private(folder)
        write_file(folder / DATA, msgspec.json.encode(held), 0o600)
        if attachment:
            self._changed()
        if wish.mode == PERSISTENT and Able.STAGE in known.abilities:
            await self._stage(pod, wish, known, context)
        await self._publish(pod, wish, rules, folder, known, context)
        if csivolume.gets_group(wish, rules, known.abilities):
            await ownership.give(folder / "mount", pod)
        write_file(folder / DATA, msgspec.json.encode(msgspec.structs.replace(held, published=True)), 0o600)

    async def _stage(self, pod: Pod, wish: CsiVolume, known: Registered, context: dict[str, str]) -> None:
        staging = self._staging(wish.driver, wish.handle)
        make_private(staging.parent)
        make_private(staging)
        request = StageRequest(
            wish.handle,
            context,
            str(staging),
            csivolume.capability(wish, known.abilities, ownership.fs_group(pod)),
            await self._secret(wish, wish.stage_secret, "MountVolume.MountDevice"),
            wish.context,
        )
        try:
            await known.driver.stage(request)
        except CsiError as error:
            raise CsiFailed("MountVolume.MountDevice", wish.name, error) from error

    async def _publish(
        self, pod: Pod, wish: CsiVolume, rules: DriverRules, folder: Path, known: Registered, context: dict[str, str]
    ) -> None:
        staged = wish.mode == PERSISTENT and Able.STAGE in known.abilities
        about = csivolume.pod_info(wish, rules, pod)
        request = PublishRequest(
            wish.handle,
            context,
            str(self._staging(wish.driver, wish.handle)) if staged else "",
            str(folder / "mount"),
            csivolume.capability(wish, known.abilities, ownership.fs_group(pod)),
            wish.read_only,
            await self._secret(wish, wish.publish_secret, SET_UP),
            {**wish.context, **about, **await self._service_tokens(pod, wish, rules)},
        )
        try:
            await known.driver.publish(request)
        except CsiError as error:
            raise CsiFailed(SET_UP, wish.name, error) from error

    async def _take_back(self, held: Held, file: Path) -> None:
        """Unpublish, and unstage with the last pod; then nothing is held."""
        known, folder = self.drivers.find(held.driver), file.parent
        staging = self._staging(held.driver, held.handle)
        others = any(other != file for other in self._held.holders(held))
        if known is None:
            if self._below(folder) or (not others and self._below(staging)):
                raise CsiFailed(TEAR_DOWN, held.name, _NO_DRIVER.format(held.driver))
            log.warning("volume %s is let go without its driver %s: nothing of it is mounted", held.name, held.driver)
        else:
            await self._give_back(held, known, folder, staging, last=not others)
        _forget(file, () if others else (staging, staging.parent))

    async def _give_back(self, held: Held, known: Registered, folder: Path, staging: Path, *, last: bool) -> None:
        try:
            await known.driver.unpublish(UnpublishRequest(held.handle, str(folder / "mount")))
        except CsiError as error:
            raise CsiFailed(TEAR_DOWN, held.name, error) from error
        if last and held.mode == PERSISTENT and Able.STAGE in known.abilities:
            try:
                await known.driver.unstage(UnstageRequest(held.handle, str(staging)))
            except CsiError as error:
                raise CsiFailed("UnmountDevice", held.name, error) from error

    def _driver(self, wish: CsiVolume) -> Registered:
        known = self.drivers.find(wish.driver)
        if known is None:
            text = f"kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: {_NO_DRIVER.format(wish.driver)}"
            raise CsiFailed(SET_UP, wish.name, text)
        return known

    async def _rules(self, driver: str) -> DriverRules:
        """What the driver's CSIDriver says, as the cloud knows it now, or knew it."""
        try:
            obj = await self._metadata.get(Resource(CLUSTER, "csidriver", driver), fresh=True)
            return msgspec.convert(msgspec.json.decode(obj).get("spec") or {}, DriverRules)
        except ApiError as error:
            return DriverRules() if error.code == 404 else UNKNOWN
        except (OfflineError, DeadlineError):
            return UNKNOWN
        except msgspec.ValidationError as error:
            raise CsiFailed(SET_UP, driver, f"CSIDriver {driver} cannot be read: {error}") from error

    async def _attached(self, wish: CsiVolume, rules: DriverRules) -> dict[str, str]:
        """What the attacher says, once the volume is attached; nothing for drivers that attach nothing."""
        if not _attaches(wish, rules):
            return {}
        name = csivolume.attachment_name(wish, self._node)
        try:
            obj = await self._metadata.get(Resource("default", "volumeattachment", name), fresh=True)
            return dict(csivolume.attached(msgspec.json.decode(obj)))
        except ApiError as error:
            text = f"{error.message}; if {wish.driver} attaches nothing, its CSIDriver must say attachRequired: false"
            raise CsiFailed("MountVolume.WaitForAttach", wish.name, text) from error
        except (OfflineError, DeadlineError) as error:
            text = f'volumeattachment "{name}" is not stored on this node and the cloud is away'
            raise CsiFailed("MountVolume.WaitForAttach", wish.name, text) from error
        except ValueError as error:
            raise CsiFailed("MountVolume.WaitForAttach", wish.name, error) from error

    async def _secret(self, wish: CsiVolume, which: tuple[str, str] | None, step: str) -> dict[str, str]:
        if which is None:
            return {}
        try:
            found = await self._objects.secret(*which, fresh=wish.mode == PERSISTENT)
        except ObjectUnavailable as error:
            raise CsiFailed(step, wish.name, error) from error
        return {key: value.decode("utf-8", "replace") for key, value in (found or {}).items()}

    async def _service_tokens(self, pod: Pod, wish: CsiVolume, rules: DriverRules) -> dict[str, str]:
        """The tokens that the driver wants to act with in the pod's name."""
        tokens: dict[str, dict[str, str]] = {}
        for wanted in rules.token_requests or ():
            source = TokenProjection("", wanted.audience, wanted.expiration_seconds or 3600)
            try:
                status = await self._tokens.status(pod, source)
            except ObjectUnavailable as error:
                raise CsiFailed(SET_UP, wish.name, error) from error
            tokens[wanted.audience] = {key: str(status.get(key)) for key in ("token", "expirationTimestamp")}
        return {_TOKENS: msgspec.json.encode(tokens).decode()} if tokens else {}

    def _staging(self, driver: str, handle: str) -> Path:
        return self._layout.csi(driver) / hashlib.sha256(handle.encode()).hexdigest() / "globalmount"

    def _is_published(self, folder: Path) -> bool:
        held = csiheld.read(folder / DATA, SET_UP)
        return held is not None and held.published and bool(self._below(folder / "mount"))

    def _folder(self, pod: Pod, wish: CsiVolume) -> Path:
        return self._layout.volume(pod.metadata.uid, "csi", wish.name)

    def _alone(self, driver: str, handle: str) -> asyncio.Lock:
        """One step at a time with a volume."""
        return self._locks.setdefault((driver, handle), asyncio.Lock())


_USAGE = {
    1: ("availableBytes", "capacityBytes", "usedBytes"),
    2: ("inodesFree", "inodes", "inodesUsed"),
}


def _attaches(wish: CsiVolume, rules: DriverRules) -> bool:
    return wish.mode != EPHEMERAL and rules.attaches


def _forget(file: Path, left: tuple[Path, ...]) -> None:
    """Nothing is held any more; empty directories go first."""
    for folder in left:
        if folder.is_dir():
            folder.rmdir()
    file.unlink()


def _check_mode(wish: CsiVolume, rules: DriverRules) -> None:
    modes = rules.volume_lifecycle_modes or [PERSISTENT]
    if wish.mode not in modes:
        text = f"volume mode {wish.mode!r} not supported by driver {wish.driver} (only supports {modes}, as its "
        raise CsiFailed(SET_UP, wish.name, text + "CSIDriver object says, or the lack of one)")
