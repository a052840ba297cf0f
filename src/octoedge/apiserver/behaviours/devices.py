"""A Device against its DeviceModel: a wish that the model does not allow is refused with the field and the reason.

Only wishes that are new are looked at, and only while the model is there and names the property: a Device may come
before its model, and an object that was taken once can be changed elsewhere. What manifests for KubeEdge before 1.15
(v1alpha2) wish is taken as it was there. At the edge the same rules hold for what came another way.
"""

from __future__ import annotations

from typing import Any

import msgspec

from octoedge.api import devices as api
from octoedge.api.devicelimits import of_type, unfit, unknown
from octoedge.apiserver.store.backend import View
from octoedge.apiserver.writing.metadata import Cause, refuse, wrong
from octoedge.errors import MessageError

Json = dict[str, Any]

RESOURCE = f"devices.{api.GROUP}"
_MODELS = f"devicemodels.{api.GROUP}"
_MOST_WARNINGS = 10


def admit(obj: Json, view: View) -> None:
    """A new Device. Raises `ApiError` 422."""
    _check(obj, None, view)


def carry(new: Json, old: Json, view: View) -> None:
    """A changed Device. Raises `ApiError` 422."""
    _check(new, old, view)


def warnings(obj: Json, view: View) -> list[str]:
    """What the writer of a Device should know although it was stored: its properties that the model does not have."""
    if obj.get("apiVersion") != api.API_VERSION:
        return []
    try:
        device = api.read(msgspec.json.encode(obj), api.Device)
        item = view.get(_MODELS, device.metadata.namespace, device.model_name)
        return unknown(device, api.read(item.data, api.DeviceModel))[:_MOST_WARNINGS] if item is not None else []
    except MessageError:
        return []  # stored before its schema said more


def _check(new: Json, old: Json | None, view: View) -> None:
    if new.get("apiVersion") != api.API_VERSION or new.get("spec") == (old or {}).get("spec", {}):
        return
    try:
        device = api.read(msgspec.json.encode(new), api.Device)
        before = api.read(msgspec.json.encode(old or {}), api.Device)
    except MessageError:
        return  # its schema says what is wrong with it
    item = view.get(_MODELS, device.metadata.namespace, device.model_name)
    if item is not None:
        causes = _causes(device, before, api.read(item.data, api.DeviceModel))
        refuse("Device", api.GROUP, device.metadata.name, causes)


def _causes(device: api.Device, before: api.Device, model: api.DeviceModel) -> list[Cause]:
    known = {prop.name: prop.desired.value for prop in before.spec.properties or ()}
    if before.model_name != device.model_name:
        known = {}
    causes = []
    for number, prop in enumerate(device.spec.properties or ()):
        of_model, wish = model.property(prop.name), prop.desired.value
        if of_model is None or not wish or known.get(prop.name) == wish:
            continue
        why = unfit(of_model, wish) if of_type(of_model, wish) else f"no value of type {of_model.type}"
        if why:
            causes.append(wrong(f"spec.properties[{number}].desired.value", wish[:100], why))
    return causes
