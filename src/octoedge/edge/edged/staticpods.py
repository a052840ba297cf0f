"""Static pods: kept running from their files alone, and shown in the API by a mirror pod each while there is a cloud.

    manifests ──► pods (as the API's own) ──► sync           mirror: created when missing, removed when it is not the
        every 2 s                                            file's, created again when somebody deleted it

The mirror has an uid of its own: statuses of a static pod are reported under that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from octoedge.api.core import Pod, view
from octoedge.edge.edged.manifests import HASH, Manifests, is_static_uid
from octoedge.edge.edged.pods import Pods
from octoedge.edge.edged.ranking import MIRROR
from octoedge.edge.ports import Metadata
from octoedge.errors import ApiError, MessageError, OctoedgeError, OfflineError
from octoedge.protocol.resource import Resource
from octoedge.runtime.clock import Clock, rfc3339
from octoedge.runtime.keyed import KeyedQueue
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

_POLL = 2.0
_AGAIN, _LONG_AGAIN = 5.0, 60.0
Name = tuple[str, str]


class Mirror(msgspec.Struct, frozen=True):
    """A mirror pod as the cloud has it."""

    uid: str
    hash: str
    deleting: bool


def is_mirror(pod: Pod) -> bool:
    """Whether a pod only shows a static one."""
    return MIRROR in (pod.metadata.annotations or {})


class StaticPods:
    """The static pods of one node and their mirrors."""

    def __init__(
        self,
        manifests: Manifests,
        pods: Pods,
        metadata: Metadata,
        clock: Clock,
        *,
        wake: Callable[[str], None],
        node_uid: Callable[[], str],
    ) -> None:
        self._manifests = manifests
        self._pods = pods
        self._metadata = metadata
        self._clock = clock
        self._wake = wake
        self._node_uid = node_uid
        self._wanted: dict[Name, tuple[str, bytes]] = {}
        """uid and object of what the manifests say."""
        self._running: dict[Name, str] = {}
        """uid of what was handed to `pods`."""
        self._leaving: dict[str, Name] = {}
        self._mirrors: dict[Name, Mirror] = {}
        self._not_before: dict[Name, float] = {}
        self._queue: KeyedQueue[Name] = KeyedQueue(self._settle, workers=4, name="mirror")
        self._said = SaidOnce(log)

    def start(self) -> None:
        """Take what lies in the directory, before anything is decided about what is found running."""
        self._manifests.scan(rfc3339(self._clock.now()))
        self._take()

    async def run(self) -> None:
        """Follow the directory and keep the mirrors until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(), name="mirrors")
            while True:
                for name in self._wanted.keys() | self._mirrors.keys():
                    self._queue.add(name)
                await asyncio.sleep(_POLL)
                if self._manifests.scan(rfc3339(self._clock.now())) or self._leaving:
                    self._take()

    def ended(self, uid: str) -> bool:
        """Whether something found running came from a manifest that is there no more."""
        return is_static_uid(uid) and self._manifests.readable and uid not in self._running.values()

    def take_mirror(self, pod: Pod) -> None:
        """The cloud shows a mirror."""
        meta = pod.metadata
        name = (meta.namespace, meta.name)
        known = self._mirrors.get(name)
        mark = (meta.annotations or {}).get(MIRROR, "")
        self._mirrors[name] = Mirror(meta.uid, mark, meta.deletion_timestamp is not None)
        if known is not None and known != self._mirrors[name]:
            self._not_before.pop(name, None)
        self._queue.add(name)
        uid = self._running.get(name)
        if uid is not None and (known is None or known.uid != meta.uid):
            self._wake(uid)

    def drop_mirror(self, namespace: str, name: str, uid: str) -> bool:
        """A pod is gone from the cloud; whether it was a mirror, and so ends nothing here."""
        if (namespace, name) not in self._mirrors and (namespace, name) not in self._running:
            return False
        known = self._mirrors.get((namespace, name))
        if known is not None and uid in ("", known.uid):
            del self._mirrors[namespace, name]
            self._not_before.pop((namespace, name), None)
            self._queue.add((namespace, name))
        return True

    def shown(self, stored: list[bytes], basis: Callable[[Pod], Pod]) -> list[bytes]:
        """The pods of this node: those stored without the mirrors, and the static ones with their own last status."""
        own = [obj for uid, obj in self._wanted.values() if uid in self._running.values()]
        plain = [obj for obj in stored if not _shows_static(obj)]
        return [*plain, *(_with_status(obj, basis(view(Pod, obj))) for obj in own)]

    def reported_as(self, pod: Pod) -> str | None:
        """The uid that a pod's status is reported under; None while a static pod has no mirror."""
        if not is_static_uid(pod.metadata.uid):
            return pod.metadata.uid
        mirror = self._mirrors.get((pod.metadata.namespace, pod.metadata.name))
        return mirror.uid if mirror is not None and mirror.hash == pod.metadata.uid and not mirror.deleting else None

    def _take(self) -> None:
        """Hand over what is new and take back what is gone; what replaces another waits until that has ended."""
        self._wanted = {name: (uid, obj) for name, uid, obj in map(_identified, self._manifests.pods.values())}
        for name, uid in list(self._running.items()):
            if self._wanted.get(name, ("", b""))[0] != uid:
                log.info("static pod %s/%s is to end: its manifest is gone or changed", *name)
                del self._running[name]
                self._leaving[uid] = name
                self._pods.remove(msgspec.json.encode({"metadata": {"uid": uid}}), *name)
                self._wake(uid)
        self._leaving = {uid: name for uid, name in self._leaving.items() if self._pods.ended(uid)}
        for name, (_, obj) in self._wanted.items():
            if name not in self._running and name not in self._leaving.values():
                taken = self._pods.put(obj)
                if taken is not None:
                    self._running[name] = taken
                    self._wake(taken)

    def _is_settled(self, name: Name) -> bool:
        wanted, mirror = self._wanted.get(name), self._mirrors.get(name)
        if wanted is None:
            return mirror is None or not self._manifests.readable
        return mirror is not None and not mirror.deleting and mirror.hash == wanted[0]

    async def _settle(self, name: Name) -> None:
        if self._is_settled(name) or not self._metadata.online or self._not_before.get(name, 0.0) > _now():
            return
        mirror, wanted = self._mirrors.get(name), self._wanted.get(name)
        resource = Resource(name[0], "pod", name[1])
        self._not_before[name] = _now() + _AGAIN
        try:
            if mirror is not None:
                await self._metadata.delete_pod(resource, mirror.uid)
            elif wanted is not None:
                made = await self._metadata.create_pod(resource, self._mirror_of(wanted[1]))
                self.take_mirror(view(Pod, made))
                self._said.over(f"mirror of {'/'.join(name)}", "is there")
        except OfflineError:
            self._not_before.pop(name, None)
        except OctoedgeError as error:
            if isinstance(error, ApiError) and error.reason == "AlreadyExists":
                return  # It is on its way down to us, or an old one on its way out.
            self._said.trouble(f"mirror of {'/'.join(name)}", f"{error}; the pod runs without it")
            self._not_before[name] = _now() + _LONG_AGAIN

    def _mirror_of(self, obj: bytes) -> bytes:
        pod = msgspec.json.decode(obj)
        about = pod["metadata"]
        node = pod["spec"]["nodeName"]
        owner = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": self._node_uid(), "controller": True}
        notes = {**about["annotations"], MIRROR: about["annotations"][HASH]}
        kept = {key: about[key] for key in ("name", "namespace", "labels") if key in about}
        owners = {"ownerReferences": [owner]} if owner["uid"] else {}
        metadata = {**kept, **owners, "annotations": notes}
        return msgspec.json.encode({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": pod["spec"]})


def _shows_static(obj: bytes) -> bool:
    try:
        return MIRROR.encode() in obj and is_mirror(view(Pod, obj))
    except MessageError:
        return False


def _with_status(obj: bytes, pod: Pod) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(obj), "status": pod.status})


def _identified(obj: bytes) -> tuple[Name, str, bytes]:
    about = msgspec.json.decode(obj)["metadata"]
    return (about["namespace"], about["name"]), about["uid"], obj


def _now() -> float:
    return asyncio.get_running_loop().time()
