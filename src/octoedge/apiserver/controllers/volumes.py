"""The binder: claims get volumes, volumes are released when their claims go, neither goes while it is in use.

    claim   Pending ──a volume that will do──► Bound            Lost when its volume is gone
    volume  Available ──claim──► Bound ──claim gone──► Released ──policy Delete, no provisioner of it──► Failed

Nothing here makes or erases storage. A volume whose policy is Delete is left to the provisioner that it names; one that
names none becomes Failed and says so: its data is still where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from octoedge.apiserver.controllers.controller import Controller
from octoedge.apiserver.controllers.turn import Hands, Turn
from octoedge.apiserver.volumes.binding import BY_CONTROLLER, bind, with_phase
from octoedge.apiserver.volumes.matching import choose, claim_of, obstacle, volume_of
from octoedge.apiserver.volumes.objects import CLAIM_PROTECTION, CLAIMS, CLASSES, VOLUME_PROTECTION, VOLUMES
from octoedge.apiserver.volumes.places import binds_late, is_bound
from octoedge.apiserver.writing.ownership import has_finalizer, is_leaving, without_finalizer
from octoedge.kube.read import Item

Json = dict[str, Any]
Key = tuple[str, str]

PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
_OVER = ("Succeeded", "Failed")


def volume_controllers(hands: Hands) -> Sequence[Controller]:
    """The modules."""
    backend = hands.rest.backend

    def waiting(_item: Item) -> Iterable[Key]:
        return [one.key for one in backend.items(CLAIMS) if b'"phase":"Bound"' not in one.data]

    def of_volume(item: Item) -> Iterable[Key]:
        reference = volume_of(item.data).claim
        yield from waiting(item)
        if reference is not None:
            yield (reference.namespace, reference.name)

    def of_pod(item: Item) -> Iterable[Key]:
        return mounted(item)

    def of_claim(item: Item) -> Iterable[Key]:
        wanted = msgspec.json.decode(item.data)["spec"].get("volumeName")
        if wanted:
            yield ("", wanted)

    binder = Binder()
    claims = Controller("persistentvolume-binder", CLAIMS, hands, binder.reconcile, binder.forget)
    claims.attend(VOLUMES, of_volume).attend(CLASSES, waiting).attend("pods", of_pod)
    volumes = Controller("persistentvolume-keeper", VOLUMES, hands, reconcile_volume)
    return (claims, volumes.attend(CLAIMS, of_claim))


def mounted(item: Item) -> list[Key]:
    """The claims that a Pod mounts."""
    if b'"persistentVolumeClaim"' not in item.data and b'"ephemeral"' not in item.data:
        return []
    pod = msgspec.json.decode(item.data)
    names = []
    for volume in pod["spec"].get("volumes") or []:
        claim = volume.get("persistentVolumeClaim")
        if claim:
            names.append(claim.get("claimName") or "")
        elif volume.get("ephemeral"):
            names.append(f"{item.name}-{volume.get('name')}")
    return [(item.namespace, name) for name in names]


class Binder:
    """Decides about claims, and says once why one has to wait."""

    def __init__(self) -> None:
        self._said: dict[Key, str] = {}

    def forget(self, _turn: Turn, key: Key) -> None:
        """The claim is gone."""
        self._said.pop(key, None)

    def reconcile(self, turn: Turn, claim: Json) -> None:
        """One turn of one claim."""
        about = claim["metadata"]
        if is_leaving(claim):
            if not _in_use(turn, about["namespace"], about["name"]):
                _unprotect(turn, CLAIMS, claim, CLAIM_PROTECTION)
            return
        if claim["spec"].get("volumeName"):
            self._bind_to_named(turn, claim)
            return
        volumes = [volume_of(item.data) for item in turn.items(VOLUMES)]
        wanted = claim_of(claim)
        made_for_it = next((one for one in volumes if wanted.is_meant_by(one.claim)), None)
        if made_for_it is None and binds_late(turn.view, wanted.storage_class):
            text = "waiting for first consumer to be created before binding"
            self._tell(turn, claim, "WaitForFirstConsumer", text)
            return
        chosen = choose(wanted, volumes)
        if chosen is None:
            self._tell(turn, claim, *_waiting(turn, wanted.storage_class))
            return
        why = obstacle(wanted, chosen) if made_for_it is not None else ""
        if why:
            self._tell(
                turn, claim, "VolumeMismatch", f'Cannot bind to requested volume "{chosen.name}": {why}', warning=True
            )
            return
        volume = turn.get(VOLUMES, "", chosen.name)
        assert volume is not None
        bind(turn, claim, volume)

    def _bind_to_named(self, turn: Turn, claim: Json) -> None:
        """The claim names its volume: it was bound, or its author wishes for that one."""
        name = claim["spec"]["volumeName"]
        volume, bound = turn.get(VOLUMES, "", name), is_bound(claim)
        if volume is None:
            if bound:
                _lose(turn, claim, f'Bound claim has lost its PersistentVolume "{name}". Data on the volume is lost!')
            else:
                self._tell(turn, claim, "FailedBinding", f'volume "{name}" not found', warning=True)
            return
        wanted, offered = claim_of(claim), volume_of(msgspec.json.encode(volume))
        meant = wanted.is_meant_by(offered.claim)
        if offered.claim is not None and not meant:
            if bound:
                _lose(turn, claim, "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
            else:
                text = f'volume "{name}" already bound to a different claim.'
                self._tell(turn, claim, "FailedBinding", text, warning=True)
            return
        why = "" if bound or meant else obstacle(wanted, offered)
        if why:
            self._tell(turn, claim, "VolumeMismatch", f'Cannot bind to requested volume "{name}": {why}', warning=True)
        elif not bound or not meant or (claim.get("status") or {}).get("phase") != "Bound":
            bind(turn, claim, volume)

    def _tell(self, turn: Turn, claim: Json, reason: str, text: str, *, warning: bool = False) -> None:
        """Whatever happens to any volume, every claim that waits is looked at: the same is not said each time."""
        key = (claim["metadata"]["namespace"], claim["metadata"]["name"])
        if self._said.get(key) != text:
            self._said[key] = text
            turn.tell(claim, reason, text, warning=warning)


def _lose(turn: Turn, claim: Json, why: str) -> None:
    if (claim.get("status") or {}).get("phase") != "Lost":
        turn.put(CLAIMS, {**claim, "status": {**(claim.get("status") or {}), "phase": "Lost"}})
        turn.tell(claim, "ClaimLost", why, warning=True)


def _waiting(turn: Turn, storage_class: str) -> tuple[str, str]:
    """(reason, text) of a claim for which there is no volume."""
    item = turn.view.get(CLASSES, "", storage_class) if storage_class else None
    if item is None and storage_class:
        return "ProvisioningFailed", f'storageclass.storage.k8s.io "{storage_class}" not found'
    provisioner = msgspec.json.decode(item.data).get("provisioner") if item is not None else NO_PROVISIONER
    if provisioner == NO_PROVISIONER:
        return "FailedBinding", "no persistent volumes available for this claim and no storage class is set"
    return (
        "ExternalProvisioning",
        f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
        "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
        "correctly registered.",
    )


def reconcile_volume(turn: Turn, volume: Json) -> None:
    """One turn of one volume."""
    reference = volume["spec"].get("claimRef") or {}
    phase = (volume.get("status") or {}).get("phase")
    owner = turn.get(CLAIMS, reference.get("namespace") or "", reference.get("name") or "") if reference else None
    if not reference or not reference.get("uid"):
        _settle(turn, volume, "Available")
    elif owner is None or owner["metadata"]["uid"] != reference["uid"]:
        _release(turn, volume, phase or "")
    elif owner["spec"].get("volumeName") == volume["metadata"]["name"]:
        _settle(turn, volume, "Bound")
    elif BY_CONTROLLER in (volume["metadata"].get("annotations") or {}):
        # Half of a binding of another program: the claim has found another volume meanwhile.
        spec = {key: value for key, value in volume["spec"].items() if key != "claimRef"}
        _settle(turn, {**volume, "spec": spec}, "Available")
    present = turn.get(VOLUMES, "", volume["metadata"]["name"])
    if present is not None and is_leaving(present) and present["status"].get("phase") != "Bound":
        _unprotect(turn, VOLUMES, present, VOLUME_PROTECTION)


def _settle(turn: Turn, volume: Json, phase: str) -> None:
    if (volume.get("status") or {}).get("phase") != phase:
        turn.put(VOLUMES, with_phase(turn, volume, phase))


def _release(turn: Turn, volume: Json, phase: str) -> None:
    """The claim is gone: the volume waits for its administrator or its provisioner."""
    about, policy = volume["metadata"], volume["spec"].get("persistentVolumeReclaimPolicy")
    by_provisioner = PROVISIONED_BY in (about.get("annotations") or {})
    if policy in (None, "Retain") or by_provisioner:
        _settle(turn, volume, "Released")
        return
    if phase != "Failed":
        text = f"error getting {'deleter' if policy == 'Delete' else 'recycler'} volume plugin for volume "
        text += f'"{about["name"]}": no {"deletable" if policy == "Delete" else "recyclable"} volume plugin matched'
        turn.put(VOLUMES, with_phase(turn, volume, "Failed", "VolumeFailedDelete", f"{text}: its data is kept"))
        turn.tell(volume, "VolumeFailedDelete", text, warning=True)


def _in_use(turn: Turn, namespace: str, name: str) -> bool:
    """Whether a Pod that has not ended mounts the claim."""
    for item in turn.items("pods", namespace):
        if item.fields.get("status.phase") not in _OVER and (namespace, name) in mounted(item):
            return True
    return False


def _unprotect(turn: Turn, resource: str, obj: Json, finalizer: str) -> None:
    if has_finalizer(obj, finalizer):
        turn.put(resource, without_finalizer(obj, finalizer))
