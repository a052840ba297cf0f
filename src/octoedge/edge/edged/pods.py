"""The pods that should run here, by uid: what MetaManager has stored, as views.

A pod that is gone from the store stays known as *ended* until nothing of it is left, so that only what was told to go
is taken down, never what merely is not listed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from octoedge.api.core import Container, Pod, PodSpec, View, view
from octoedge.api.meta import ObjectMeta
from octoedge.edge.edged import unsupported
from octoedge.errors import MessageError

log = logging.getLogger(__name__)


class Desired(msgspec.Struct, frozen=True):
    """A pod, and why it cannot run here (empty when it can)."""

    pod: Pod
    refused: str
    refused_debuggers: dict[str, str] = {}
    """The same by name for ephemeral containers: they come to a pod that runs, and must not end it."""


class _Place(View, frozen=True):
    node_name: str = ""


class _Head(View, frozen=True):
    """What must be known of a pod to refuse it by name, and to let it go."""

    metadata: ObjectMeta = ObjectMeta()
    spec: _Place = _Place()


class Pods:
    """Desired state of one node."""

    def __init__(self, node_name: str) -> None:
        self._node_name = node_name
        self._pods: dict[str, Desired] = {}
        self._ended: set[str] = set()

    def put(self, obj: bytes) -> str | None:
        """Take a stored pod; its uid, None when it is not for this node."""
        try:
            pod = view(Pod, obj)
        except MessageError as error:
            return self._put_unreadable(obj, error)
        refused = unsupported.message(
            unsupported.refusals(obj, pod) if pod.spec.containers else ["it has no containers"]
        )
        return self._take(Desired(pod, refused, unsupported.refused_debuggers(obj, pod)))

    def _put_unreadable(self, obj: bytes, why: MessageError) -> str | None:
        """A pod with a value that its field cannot have: refused by name; one that runs goes on as it was."""
        try:
            head = view(_Head, obj)
        except MessageError:
            log.error("a stored pod cannot be read and is left alone: %s", why)
            return None
        before = self._pods.get(head.metadata.uid)
        if before is not None:
            log.error("pod %s/%s goes on as it was: %s", head.metadata.namespace, head.metadata.name, why)
            return self._take(replace(before, pod=replace(before.pod, metadata=head.metadata)))
        pod = Pod(metadata=head.metadata, spec=PodSpec(node_name=head.spec.node_name))
        return self._take(Desired(pod, unsupported.message([str(why)])))

    def _take(self, desired: Desired) -> str | None:
        uid = desired.pod.metadata.uid
        if desired.pod.spec.node_name != self._node_name or not uid:
            return None
        self._pods[uid] = desired
        self._ended.discard(uid)
        return uid

    def remove(self, obj: bytes, namespace: str, name: str) -> str | None:
        """A pod was removed from the store; its uid. Without a uid in `obj` the name decides."""
        try:
            uid = view(Pod, obj).metadata.uid if obj else ""
        except MessageError:
            uid = ""
        if not uid:
            named = self.named(namespace, name)
            uid = named.metadata.uid if named is not None else ""
        if not uid:
            return None
        self._pods.pop(uid, None)
        self._ended.add(uid)
        return uid

    def get(self, uid: str) -> Desired | None:
        return self._pods.get(uid)

    def ended(self, uid: str) -> bool:
        """Whether the pod was told to go."""
        return uid in self._ended

    def end(self, uid: str) -> None:
        """The cloud confirmed that a pod found here does not exist."""
        self._ended.add(uid)

    def forget(self, uid: str) -> None:
        """Nothing of an ended pod is left."""
        self._ended.discard(uid)

    def uids(self) -> set[str]:
        return set(self._pods)

    def all(self) -> Iterator[Pod]:
        """Every pod that should be here."""
        for desired in self._pods.values():
            yield desired.pod

    def named(self, namespace: str, name: str) -> Pod | None:
        """The pod of that name; of several (an old one still ending) the one that is not being deleted."""
        found = [
            d.pod for d in self._pods.values() if (d.pod.metadata.namespace, d.pod.metadata.name) == (namespace, name)
        ]
        found.sort(key=lambda pod: pod.metadata.deletion_timestamp is not None)
        return found[0] if found else None

    def using(self, namespace: str, kind: str, name: str) -> list[str]:
        """uids of pods that refer to a ConfigMap or Secret."""
        return [
            uid
            for uid, desired in self._pods.items()
            if desired.pod.metadata.namespace == namespace and (kind, name) in references(desired.pod)
        ]


def references(pod: Pod) -> set[tuple[str, str]]:
    """(kind, name) of every ConfigMap and Secret that a pod uses."""
    found: set[tuple[str, str]] = {("secret", reference.name) for reference in pod.spec.image_pull_secrets}
    for container in pod.spec.everyone():
        found.update(_of_environment(container))
    for volume in pod.spec.volumes:
        if volume.config_map is not None:
            found.add(("configmap", volume.config_map.name))
        if volume.secret is not None:
            found.add(("secret", volume.secret.secret_name))
        if volume.csi is not None and volume.csi.node_publish_secret_ref is not None:
            found.add(("secret", volume.csi.node_publish_secret_ref.name))
        for part in volume.projected.sources if volume.projected is not None else ():
            if part.config_map is not None:
                found.add(("configmap", part.config_map.name))
            if part.secret is not None:
                found.add(("secret", part.secret.name))
    return found


def _of_environment(container: Container) -> Iterator[tuple[str, str]]:
    for origin in container.env_from:
        if origin.config_map_ref is not None:
            yield "configmap", origin.config_map_ref.name
        if origin.secret_ref is not None:
            yield "secret", origin.secret_ref.name
    for variable in container.env:
        source = variable.value_from
        if source is not None and source.config_map_key_ref is not None:
            yield "configmap", source.config_map_key_ref.name
        if source is not None and source.secret_key_ref is not None:
            yield "secret", source.secret_key_ref.name
