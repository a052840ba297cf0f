"""From a claim to what can be mounted here: claim → PersistentVolume → local, hostPath, csi or nfs.

    PersistentVolumeClaim ──bound──► PersistentVolume ──checked: claim, node, kind──► Place

Both are asked from the cloud when it answers, and found in the store when it does not: a pod with a volume starts
without a cloud. `place` is pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from octoedge.api.core import Node, Pod, Volume, view
from octoedge.edge.edged.admission import matches_terms
from octoedge.edge.ports import Metadata
from octoedge.errors import ApiError, DeadlineError, OctoedgeError, OfflineError
from octoedge.protocol.resource import CLUSTER, Resource

Json = dict[str, Any]

_KINDS = ("local", "hostPath", "csi", "nfs")
_NO_SOURCES = frozenset(
    """capacity accessModes claimRef persistentVolumeReclaimPolicy storageClassName mountOptions volumeMode nodeAffinity
    volumeAttributesClassName""".split()  # noqa: SIM905
)


class ClaimFailed(OctoedgeError):
    """A claim leads to nothing that can be mounted here; the text says why."""


class Place(msgspec.Struct, frozen=True):
    """Where a persistent volume is, as seen from this node."""

    name: str
    path: str
    kind: str
    """One of `local`, `hostPath`, `csi`, `nfs`."""
    type: str = ""
    """Type of a hostPath."""
    read_only: bool = False
    claim: str = ""
    volume: Json = {}
    """The PersistentVolume."""

    @property
    def source(self) -> Json:
        """What the volume says of its kind."""
        found: Json = self.volume["spec"][self.kind]
        return found

    @property
    def options(self) -> tuple[str, ...]:
        """With what it wants to be mounted."""
        return tuple(str(option) for option in self.volume["spec"].get("mountOptions") or ())


class Claims:
    """Looks up what claims are bound to."""

    def __init__(self, metadata: Metadata, node_name: str) -> None:
        self._metadata = metadata
        self._node_name = node_name

    async def place(self, pod: Pod, volume: Volume) -> Place:
        """Where the volume of a claim is. Raises `ClaimFailed`."""
        source = volume.persistent_volume_claim
        name = source.claim_name if source is not None else f"{pod.metadata.name}-{volume.name}"
        claim = await self._get(Resource(pod.metadata.namespace, "persistentvolumeclaim", name))
        if source is None and not _made_for(claim, pod):
            raise ClaimFailed(f'PVC "{name}" was not created for pod {pod.metadata.namespace}/{pod.metadata.name}')
        bound = bound_volume(claim)
        found = await self._get(Resource(CLUSTER, "persistentvolume", bound))
        here = place(claim, found, await self._labels())
        read_only = here.read_only or (source is not None and source.read_only)
        return msgspec.structs.replace(here, read_only=read_only, claim=name)

    async def _get(self, resource: Resource) -> Json:
        try:
            found: Json = msgspec.json.decode(await self._metadata.get(resource, fresh=True))
        except ApiError as error:
            raise ClaimFailed(error.message) from error
        except (OfflineError, DeadlineError) as error:
            text = f'{resource.type} "{resource.name}" is not stored on this node and the cloud is away'
            raise ClaimFailed(text) from error
        return found

    async def _labels(self) -> Mapping[str, str] | None:
        try:
            node = view(Node, await self._metadata.get(Resource(CLUSTER, "node", self._node_name)))
        except OctoedgeError:
            return None
        return node.metadata.labels or {}


def bound_volume(claim: Json) -> str:
    """The name of the volume that a claim is bound to. Raises `ClaimFailed` with the kubelet's words."""
    about, name = claim["metadata"], (claim.get("spec") or {}).get("volumeName") or ""
    phase = (claim.get("status") or {}).get("phase") or ""
    if phase != "Bound" or not name:
        which = f"{about.get('namespace')}/{about.get('name')}"
        raise ClaimFailed(f'PVC {which} has non-bound phase ("{phase}") or empty pvc.Spec.VolumeName ("{name}")')
    return str(name)


def place(claim: Json, volume: Json, labels: Mapping[str, str] | None) -> Place:
    """Where `volume` is. Raises `ClaimFailed` when it is not for this claim, or not on a node with these labels."""
    name, spec = volume["metadata"]["name"], volume.get("spec") or {}
    holder = (spec.get("claimRef") or {}).get("uid")
    if holder != claim["metadata"].get("uid"):
        raise ClaimFailed(f"PersistentVolume {name} is bound to another claim ({holder or 'none'})")
    if spec.get("volumeMode") == "Block":
        raise ClaimFailed(f"PersistentVolume {name} is a block device, which this node cannot mount yet")
    required = (spec.get("nodeAffinity") or {}).get("required")
    if required and labels is not None and not matches_terms(required, labels):
        raise ClaimFailed(f"PersistentVolume {name} is not on this node: no matching NodeSelectorTerms")
    kind = next((kind for kind in _KINDS if spec.get(kind)), "")
    if not kind:
        other = ", ".join(sorted(spec.keys() - _NO_SOURCES)) or "nothing"
        raise ClaimFailed(f"PersistentVolume {name} is of kind {other}; this node can mount {', '.join(_KINDS)}")
    path, kind_of_path = str(spec[kind].get("path") or ""), str(spec[kind].get("type") or "")
    return Place(name, path, kind, kind_of_path, volume=volume)


def _made_for(claim: Json, pod: Pod) -> bool:
    owners = claim["metadata"].get("ownerReferences") or []
    return any(owner.get("uid") == pod.metadata.uid and owner.get("controller") for owner in owners)
