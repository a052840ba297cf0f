"""Room for images: when their file system fills, those that nobody needs go, the longest unused first.

    every 5 minutes: list ──► note what is used ──► over the high mark? ──► remove down to the low mark
    eviction, when the disk is short: everything unused

Never removed: what a container of anybody uses, what a stored pod names (it may have to start without a cloud and
without a registry), the image of the pod sandbox, and what the runtime has pinned. Ages are measured by the event
loop's clock: a wall clock that jumps makes no image old.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from octoedge.api.core import Pod
from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.cri.interface import ContainerRuntime
from octoedge.edge.edged.events import Recorder
from octoedge.edge.edged.images import ImageFailed, normal_name
from octoedge.edge.edged.machine import Disk
from octoedge.edge.edged.pods import Pods
from octoedge.errors import CriError, OctoedgeError

log = logging.getLogger(__name__)

PERIOD = 300.0
_LONG_AGO = float("-inf")


class ImagePolicy(msgspec.Struct, frozen=True):
    """When images are removed; marks are percent of the file system in use, ages seconds."""

    high: int = 85
    """100: never for want of room."""
    low: int = 80
    min_age: float = 120.0
    max_age: float = 0.0
    """0: never for age alone."""
    pause: str = ""
    """Image of the pod sandbox, where the configuration names one."""


class Seen(msgspec.Struct):
    """When an image was first seen, and when it was last needed; loop time."""

    first: float
    used: float = _LONG_AGO


class ImageCollector:
    """Remembers when images were needed and removes those that are not."""

    def __init__(
        self,
        policy: ImagePolicy,
        runtime: ContainerRuntime,
        pods: Pods,
        recorder: Recorder,
        measure: Callable[[Path], Disk],
        root: Path,
    ) -> None:
        self._policy = policy
        self._runtime = runtime
        self._pods = pods
        self._recorder = recorder
        self._measure = measure
        self._root = root
        self._seen: dict[str, Seen] = {}
        self._pause = {policy.pause} - {""}
        self._began: float | None = None
        self._looked = 0.0
        self._failed = False
        self._where: Path | None = None
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Look every five minutes until cancelled."""
        while True:
            try:
                await self.collect()
            except (OctoedgeError, OSError) as error:
                log.warning("images cannot be looked through: %s", error)
                if self._failed:  # Once is no news: the runtime may only just have started.
                    self._recorder.node("Warning", "ImageGCFailed", str(error))
                self._failed = True
            else:
                self._failed = False
            await asyncio.sleep(PERIOD)

    async def collect(self) -> int:
        """Note what is used, and make room if there is too little; bytes freed. Raises `NotEnough`, `OctoedgeError`."""
        async with self._one_at_a_time:
            images = await self._detect()
            freed = await self._remove_old(images)
            disk = self._measure(await self.where())
            wanted = to_free(self._policy, disk) - freed
            if wanted <= 0:
                return freed
            freed += await self._remove(images, wanted)
            if freed < wanted:
                text = (
                    f"Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, "
                    f"but only found {freed} bytes eligible to free."
                )
                self._recorder.node("Warning", "FreeDiskSpaceFailed", text)
                raise NotEnough(text)
            return freed

    async def remove_unused(self) -> int:
        """Remove every image that nobody needs; bytes freed."""
        async with self._one_at_a_time:
            return await self._remove(await self._detect(), None)

    async def where(self) -> Path:
        """The file system that images are on; edged's own when the runtime does not say."""
        if self._where is None:
            found = await self._runtime.image_filesystems()
            paths = [Path(usage.fs_id.mountpoint) for usage in found if usage.fs_id and usage.fs_id.mountpoint]
            self._where = paths[0] if paths else self._root
        return self._where

    async def _detect(self) -> list[f.Image]:
        """All images; memory is brought up to what is used now."""
        await self._find_pause()
        now = _now()
        first = _LONG_AGO if self._began is None else now  # What was there before us is old enough.
        self._began = now if self._began is None else self._began
        self._looked = now
        images = list(await self._runtime.list_images())
        used = {text for one in await self._runtime.list_containers({}) for text in (one.image_ref, one.image.image)}
        self._seen = {image.id: self._seen.get(image.id) or Seen(first) for image in images}
        for image in images:
            if self._needed(image, used):
                self._seen[image.id].used = now
        return images

    def _needed(self, image: f.Image, used: Iterable[str] = ()) -> bool:
        names = {image.id, *image.repo_tags, *image.repo_digests}
        return image.pinned or bool(names & {*used, *wanted(self._pods.all()), *self._pause}) or _is_pause(image)

    async def _find_pause(self) -> None:
        """Older runtimes neither pin the sandbox's image nor count it as used; their configuration names it."""
        if self._began is not None:
            return
        info = (await self._runtime.status(verbose=True)).info
        try:
            config = msgspec.json.decode(info.get("config", "{}"))
        except msgspec.DecodeError:
            return
        if isinstance(config, dict) and config.get("sandboxImage"):
            self._pause.add(_full(str(config["sandboxImage"])))

    async def _remove_old(self, images: list[f.Image]) -> int:
        limit, now = self._policy.max_age, self._looked
        if not limit or self._began is None or now - self._began <= limit:
            return 0
        began = self._began
        old = [image for image in images if now - max(self._seen[image.id].used, began) > limit]
        return await self._remove(old, None)

    async def _remove(self, images: list[f.Image], enough: int | None) -> int:
        freed = 0
        for image in by_age(images, self._seen, self._looked, self._policy.min_age):
            if enough is not None and freed >= enough:
                break
            if self._needed(image):  # A pod may have come while others were removed.
                continue
            try:
                await self._runtime.remove_image(image.id)
            except CriError as error:
                log.warning("image %s cannot be removed: %s", _name(image), error.message)
                continue
            log.info("image %s (%d bytes) was not needed and is removed", _name(image), image.size)
            self._seen.pop(image.id, None)
            freed += image.size
        return freed


class NotEnough(OctoedgeError):
    """Images could not make as much room as they should."""


def to_free(policy: ImagePolicy, disk: Disk) -> int:
    """Bytes that images should give back; 0 while there is room."""
    if policy.high >= 100 or not disk.size:
        return 0
    if 100 - disk.free * 100 // disk.size < policy.high:
        return 0
    return max(disk.size * (100 - policy.low) // 100 - disk.free, 0)


def by_age(images: Iterable[f.Image], seen: dict[str, Seen], now: float, min_age: float) -> list[f.Image]:
    """The images that may go, in the order in which they do; `now` is when it was last noted what is used.

    Those that no registry gave (imported by hand) come last: nobody could bring them back.
    """
    known = [image for image in images if image.id in seen]
    free = [image for image in known if seen[image.id].used < now and now - seen[image.id].first >= min_age]
    return sorted(free, key=lambda image: (not image.repo_digests, seen[image.id].used, seen[image.id].first))


def wanted(pods: Iterable[Pod]) -> set[str]:
    """Full names of the images that pods may still have to start."""
    return {
        _full(container.image)
        for pod in pods
        if pod.status.phase not in ("Succeeded", "Failed")
        for container in pod.spec.everyone()
        if container.image
    }


def _full(image: str) -> str:
    try:
        name = normal_name(image)
    except ImageFailed:
        return image
    before, at, digest = name.partition("@")
    if not at:
        return name
    head, slash, last = before.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}@{digest}"


def _is_pause(image: f.Image) -> bool:
    """Whether the name says that this is a sandbox's image: another runtime on this machine may need it."""
    return any(tag.rpartition("/")[2].partition(":")[0] == "pause" for tag in image.repo_tags)


def _name(image: f.Image) -> str:
    return next(iter((*image.repo_tags, *image.repo_digests)), image.id)


def _now() -> float:
    return asyncio.get_running_loop().time()
