"""Who owns whom: ownerReferences read, written, and a controller's claim on what its selector chooses. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from octoedge.errors import ApiError
from octoedge.kube.read import Item
from octoedge.kube.selector import Selector, from_label_selector

Json = dict[str, Any]

OWNERS = "metadata.ownerReferences"
"""The field of an Item with the uids of its owners, separated by commas."""
CONTROLLER = "metadata.controller"
"""The field of an Item with the uid of its controller."""


class Owner(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One entry of metadata.ownerReferences."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class _Metadata(msgspec.Struct, rename="camel"):
    uid: str = ""
    owner_references: list[Owner] | None = None


class _Object(msgspec.Struct):
    metadata: _Metadata


_objects = msgspec.json.Decoder(_Object)


def owners_of(item: Item) -> list[Owner]:
    """The owners of a stored object."""
    return _objects.decode(item.data).metadata.owner_references or [] if item.fields.get(OWNERS) else []


def uid_of(item: Item) -> str:
    """The uid of a stored object."""
    return _objects.decode(item.data).metadata.uid


def owner_fields(obj: Json) -> dict[str, str]:
    """The fields of an Item that say who owns it."""
    owners = obj["metadata"].get("ownerReferences")
    if not owners:
        return {}
    controller = next((str(owner.get("uid")) for owner in owners if owner.get("controller")), "")
    return {OWNERS: ",".join(str(owner.get("uid")) for owner in owners), CONTROLLER: controller}


def reference(owner: Json) -> Json:
    """The entry that makes `owner` the controller of an object."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def without(obj: Json, uids: set[str]) -> Json:
    """The object without some of its owners."""
    about = obj["metadata"]
    kept = [owner for owner in about.get("ownerReferences") or [] if owner.get("uid") not in uids]
    metadata = {key: value for key, value in about.items() if key != "ownerReferences"}
    if kept:
        metadata["ownerReferences"] = kept
    return {**obj, "metadata": metadata}


def has_finalizer(obj: Json, finalizer: str) -> bool:
    """Whether the object waits for somebody when it is deleted."""
    return finalizer in (obj["metadata"].get("finalizers") or [])


def without_finalizer(obj: Json, finalizer: str) -> Json:
    """The object without one of its finalizers; the last one takes the list along."""
    about = obj["metadata"]
    kept = [one for one in about.get("finalizers") or [] if one != finalizer]
    metadata = {key: value for key, value in about.items() if key != "finalizers"}
    return {**obj, "metadata": {**metadata, **({"finalizers": kept} if kept else {})}}


def selector_of(owner: Json) -> Selector | None:
    """The selector of a controller; None when it chooses nothing."""
    try:
        return from_label_selector((owner.get("spec") or {}).get("selector")) or None
    except ApiError:
        return None


def is_leaving(obj: Json) -> bool:
    """Whether the object is being deleted."""
    return bool(obj["metadata"].get("deletionTimestamp"))
