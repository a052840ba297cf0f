"""What a CSI volume of a pod means: its handle, what the driver is told, whose group it gets. Pure.

pod.spec.volumes[].csi, or a PersistentVolume ──► CsiVolume ──(CSIDriver, abilities)──► requests
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from octoedge.api.core import CsiSource, Pod
from octoedge.edge.edged.csiapi import Able, AccessMode, Capability, Mode, MountVolume

Json = dict[str, Any]

PERSISTENT, EPHEMERAL = "Persistent", "Ephemeral"
_MODES = {
    "ReadWriteOnce": AccessMode.SINGLE_NODE_WRITER,
    "ReadOnlyMany": AccessMode.MULTI_NODE_READER_ONLY,
    "ReadWriteMany": AccessMode.MULTI_NODE_MULTI_WRITER,
    "ReadWriteOncePod": AccessMode.SINGLE_NODE_WRITER,
}
_MODES_WHERE_SEVERAL_MAY_WRITE = {
    **_MODES,
    "ReadWriteOnce": AccessMode.SINGLE_NODE_MULTI_WRITER,
    "ReadWriteOncePod": AccessMode.SINGLE_NODE_SINGLE_WRITER,
}


class CsiVolume(msgspec.Struct, frozen=True):
    """One volume as its pod has it."""

    name: str
    """The PersistentVolume's name; of an inline volume its own."""
    driver: str
    handle: str
    mode: str = PERSISTENT
    fs_type: str = ""
    read_only: bool = False
    context: dict[str, str] = {}
    flags: tuple[str, ...] = ()
    access: tuple[str, ...] = ("ReadWriteOnce",)
    stage_secret: tuple[str, str] | None = None
    """(namespace, name)."""
    publish_secret: tuple[str, str] | None = None
    claim: str = ""


class TokenRequest(msgspec.Struct, frozen=True, rename="camel"):
    audience: str = ""
    expiration_seconds: int | None = None


class DriverRules(msgspec.Struct, frozen=True, rename="camel"):
    """spec of a CSIDriver; as Kubernetes has it, a driver without such an object wants all that is the default."""

    attach_required: bool | None = None
    pod_info_on_mount: bool | None = None
    fs_group_policy: str | None = None
    volume_lifecycle_modes: list[str] | None = None
    token_requests: list[TokenRequest] | None = None
    requires_republish: bool | None = None

    @property
    def attaches(self) -> bool:
        return self.attach_required is not False


UNKNOWN = DriverRules(volume_lifecycle_modes=[PERSISTENT, EPHEMERAL])
"""The cloud cannot be asked for CSIDrivers: what a pod wants of a driver is tried."""


def inline(source: CsiSource, pod: Pod, name: str) -> CsiVolume:
    """A volume that lives and dies with its pod."""
    handle = "csi-" + hashlib.sha256(f"{pod.metadata.uid}{name}".encode()).hexdigest()
    secret = source.node_publish_secret_ref
    return CsiVolume(
        name,
        source.driver,
        handle,
        EPHEMERAL,
        source.fs_type,
        source.read_only,
        source.volume_attributes,
        publish_secret=(pod.metadata.namespace, secret.name) if secret is not None else None,
    )


def persistent(volume: Json, *, claim: str, read_only: bool) -> CsiVolume:
    """The volume that a PersistentVolume describes; `ValueError` when it names no driver or no volume."""
    spec = volume["spec"]
    source, name = spec["csi"], volume["metadata"]["name"]
    driver, handle = str(source.get("driver") or ""), str(source.get("volumeHandle") or "")
    if not driver or not handle:
        raise ValueError(f"PersistentVolume {name} names no CSI driver or no volumeHandle")
    return CsiVolume(
        name,
        driver,
        handle,
        PERSISTENT,
        str(source.get("fsType") or ""),
        read_only,
        {str(key): str(value) for key, value in (source.get("volumeAttributes") or {}).items()},
        tuple(str(flag) for flag in spec.get("mountOptions") or ()),
        tuple(spec.get("accessModes") or ()),
        _reference(source.get("nodeStageSecretRef")),
        _reference(source.get("nodePublishSecretRef")),
        claim,
    )


def _reference(value: Json | None) -> tuple[str, str] | None:
    return (str(value.get("namespace") or ""), str(value.get("name") or "")) if value else None


def capability(volume: CsiVolume, abilities: frozenset[int], group: int | None) -> Capability:
    """How the volume is to be mounted; `group` goes to drivers that give it to the files themselves."""
    modes = _MODES_WHERE_SEVERAL_MAY_WRITE if Able.SINGLE_NODE_MULTI_WRITER in abilities else _MODES
    first = volume.access[0] if volume.access else "ReadWriteOnce"
    by_driver = str(group) if group is not None and Able.MOUNT_GROUP in abilities else ""
    mode = modes.get(first, AccessMode.SINGLE_NODE_WRITER)
    return Capability(MountVolume(volume.fs_type, volume.flags, by_driver), Mode(mode))


def gets_group(volume: CsiVolume, rules: DriverRules, abilities: frozenset[int]) -> bool:
    """Whether the node gives a mounted volume to the pod's fsGroup."""
    policy = rules.fs_group_policy or "ReadWriteOnceWithFSType"
    if Able.MOUNT_GROUP in abilities or volume.read_only or policy == "None":
        return False
    if policy == "File":
        return True
    return bool(volume.fs_type) and (volume.mode == EPHEMERAL or "ReadWriteOnce" in volume.access)


def pod_info(volume: CsiVolume, rules: DriverRules, pod: Pod) -> dict[str, str]:
    """What a driver is told of the pod, if it asks for that."""
    if not (rules.pod_info_on_mount or (rules is UNKNOWN and volume.mode == EPHEMERAL)):
        return {}
    about = {
        "pod.name": pod.metadata.name,
        "pod.namespace": pod.metadata.namespace,
        "pod.uid": pod.metadata.uid,
        "serviceAccount.name": pod.spec.service_account_name or "default",
        "ephemeral": "true" if volume.mode == EPHEMERAL else "false",
    }
    return {f"csi.storage.k8s.io/{key}": value for key, value in about.items()}


def attachment_name(volume: CsiVolume, node: str) -> str:
    """The VolumeAttachment that says that the volume is attached to the node."""
    return "csi-" + hashlib.sha256(f"{volume.handle}{volume.driver}{node}".encode()).hexdigest()


def attached(attachment: Json) -> Mapping[str, str]:
    """What the attacher has to tell the driver. Raises `ValueError` while the volume is not attached."""
    name, status = attachment["metadata"]["name"], attachment.get("status") or {}
    if attachment["metadata"].get("deletionTimestamp"):
        raise ValueError(f"volume attachment {name} is being deleted")
    if not status.get("attached"):
        error = (status.get("attachError") or {}).get("message")
        raise ValueError(str(error) if error else f"volume attachment {name} is not attached yet")
    return {str(key): str(value) for key, value in (status.get("attachmentMetadata") or {}).items()}
