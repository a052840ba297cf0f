"""The rules of PersistentVolumes, PersistentVolumeClaims and StorageClasses: what is filled in, what is Invalid."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from octoedge.apiserver.schema.quantity import parse
from octoedge.apiserver.store.backend import View
from octoedge.apiserver.writing.metadata import Cause, forbidden_field, required, wrong

Json = dict[str, Any]

VOLUMES = "persistentvolumes"
CLAIMS = "persistentvolumeclaims"
CLASSES = "storageclasses.storage.k8s.io"
VOLUME_PROTECTION = "kubernetes.io/pv-protection"
CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
LATE = "WaitForFirstConsumer"

_MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
_POLICIES = ("Retain", "Delete", "Recycle")
_BINDING_MODES = ("Immediate", LATE)
_NO_SOURCE = frozenset(
    (
        "capacity", "accessModes", "claimRef", "persistentVolumeReclaimPolicy", "storageClassName", "mountOptions",
        "volumeMode", "nodeAffinity", "volumeAttributesClassName",
    )
)  # fmt: skip


def normalize_volume(obj: Json) -> None:
    """A volume is kept when its claim goes, unless it says otherwise."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    reference = spec.get("claimRef")
    if reference:
        spec["claimRef"] = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", **reference}


def prepare_volume(obj: Json) -> None:
    """A new volume; it is not bound yet, whatever it says."""
    obj["status"] = {"phase": "Pending"}
    _protect(obj, VOLUME_PROTECTION)


def prepare_claim(obj: Json) -> None:
    """A new claim."""
    obj["status"] = {"phase": "Pending"}
    _protect(obj, CLAIM_PROTECTION)


def _protect(obj: Json, finalizer: str) -> None:
    finalizers = obj["metadata"].setdefault("finalizers", [])
    if finalizer not in finalizers:
        finalizers.append(finalizer)


def admit_claim(obj: Json, view: View) -> None:
    """Give a claim that names no class the default one, the newest if there are several."""
    if obj["spec"].get("storageClassName") is not None:
        return
    classes = [msgspec.json.decode(item.data)["metadata"] for item in view.items(CLASSES)]
    default = [one for one in classes if (one.get("annotations") or {}).get(DEFAULT_CLASS) == "true"]
    if default:
        newest = max(default, key=lambda one: (one["creationTimestamp"], one["name"]))
        obj["spec"]["storageClassName"] = newest["name"]


def normalize_class(obj: Json) -> None:
    """What a class says when it says nothing."""
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def volume(obj: Json) -> list[Cause]:
    """What is wrong with a volume."""
    spec = obj.get("spec") or {}
    causes = _modes(spec.get("accessModes"), "spec.accessModes")
    if "storage" not in (spec.get("capacity") or {}):
        causes.append(required("spec.capacity"))
    causes += _positive((spec.get("capacity") or {}).get("storage"), "spec.capacity[storage]")
    sources = [key for key in spec if key not in _NO_SOURCE]
    if not sources:
        causes.append(required("spec", "must specify a volume type"))
    elif len(sources) > 1:
        causes.append(forbidden_field(f"spec.{sources[1]}", "may not specify more than 1 volume type"))
    if "local" in spec and not (spec.get("nodeAffinity") or {}).get("required"):
        causes.append(required("spec.nodeAffinity", "Local volume requires node affinity"))
    policy = spec.get("persistentVolumeReclaimPolicy")
    return causes + _one_of(policy, _POLICIES, "spec.persistentVolumeReclaimPolicy")


def volume_update(new: Json, old: Json) -> list[Cause]:
    """A volume stays what it is."""
    before, after = old.get("spec") or {}, new.get("spec") or {}
    causes = volume(new)
    for key in {*before, *after} - _NO_SOURCE:
        if before.get(key) != after.get(key):
            causes.append(forbidden_field("spec.persistentvolumesource", "is immutable after creation"))
    if before.get("volumeMode") != after.get("volumeMode"):
        causes.append(wrong("spec.volumeMode", after.get("volumeMode"), "field is immutable"))
    if before.get("nodeAffinity") and before["nodeAffinity"] != after.get("nodeAffinity"):
        causes.append(wrong("spec.nodeAffinity", "", "field is immutable"))
    return causes


def claim(obj: Json) -> list[Cause]:
    """What is wrong with a claim."""
    spec = obj.get("spec") or {}
    causes = _modes(spec.get("accessModes"), "spec.accessModes")
    wished = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if wished is None:
        causes.append(required("spec.resources[storage]"))
    return causes + _positive(wished, "spec.resources[storage]")


_IMMUTABLE = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def claim_update(new: Json, old: Json) -> list[Cause]:
    """A claim keeps what it asked for; nothing here can make a volume larger, so it cannot ask for more either."""
    before, after = dict(old.get("spec") or {}), dict(new.get("spec") or {})
    for name in ("volumeName", "storageClassName"):
        # Who binds a claim, or gives one without a class a class, adds; nobody takes away.
        if not before.get(name):
            before.pop(name, None)
            after.pop(name, None)
    return claim(new) if before == after else [*claim(new), forbidden_field("spec", _IMMUTABLE)]


def storage_class(obj: Json) -> list[Cause]:
    """What is wrong with a class."""
    causes = [] if obj.get("provisioner") else [required("provisioner")]
    causes += _one_of(obj.get("reclaimPolicy"), ("Delete", "Retain"), "reclaimPolicy")
    return causes + _one_of(obj.get("volumeBindingMode"), _BINDING_MODES, "volumeBindingMode")


def storage_class_update(new: Json, old: Json) -> list[Cause]:
    """A class stays what it is."""
    keys = ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode")
    changed = [key for key in keys if new.get(key) != old.get(key)]
    return storage_class(new) + [forbidden_field(key, f"updates to {key} are forbidden.") for key in changed]


def ephemeral_claims(pod: Json, view: View, now: str) -> list[tuple[str, Json]]:
    """The claims of a new Pod's generic ephemeral volumes, which go when it goes."""
    about = pod["metadata"]
    found: list[tuple[str, Json]] = []
    for one in (pod.get("spec") or {}).get("volumes") or []:
        template = (one.get("ephemeral") or {}).get("volumeClaimTemplate")
        name = f"{about['name']}-{one['name']}"
        if not template or view.get(CLAIMS, about["namespace"], name) is not None:
            continue
        owner = {
            "apiVersion": "v1", "kind": "Pod", "name": about["name"], "uid": about["uid"],
            "controller": True, "blockOwnerDeletion": True,
        }  # fmt: skip
        wished = template.get("metadata") or {}
        metadata = {
            "name": name,
            "namespace": about["namespace"],
            "uid": str(uuid.uuid4()),
            "creationTimestamp": now,
            "ownerReferences": [owner],
            **{key: wished[key] for key in ("labels", "annotations") if key in wished},
        }
        made = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": metadata, "spec": template["spec"]}
        prepare_claim(made)
        admit_claim(made, view)
        found.append((CLAIMS, made))
    return found


def _modes(modes: Any, path: str) -> list[Cause]:
    if not modes:
        return [required(path, "at least 1 access mode is required")]
    causes = [cause for mode in modes for cause in _one_of(mode, _MODES, path)]
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        causes.append(forbidden_field(path, "may not use ReadWriteOncePod with other access modes"))
    return causes


def _positive(amount: Any, path: str) -> list[Cause]:
    if amount is None or parse(str(amount)) > 0:
        return []
    return [wrong(path, str(amount), "must be greater than zero")]


def _one_of(value: Any, allowed: tuple[str, ...], path: str) -> list[Cause]:
    if value is None or value in allowed:
        return []
    shown = ", ".join(f'"{one}"' for one in sorted(allowed))
    return [("FieldValueNotSupported", path, f'Unsupported value: "{value}": supported values: {shown}')]
