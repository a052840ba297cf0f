"""What a mapper must be told: what it should know against what it was told. Pure.

    devices and models of its protocol ──► `wanted` ──► `plan(wanted, told)` ──► calls, in an order that it understands

A model comes before its devices and goes after them. What was told is remembered by a digest of the message, so that a
change which the mapper would not notice (a label, a status) does not restart its device.

KubeEdge's mappers copy what they need of a model into each device when they are told of the device, and end when a
device has a property that its model has not. So they are told of a device again when its model changes, and not of such
properties.
"""

from __future__ import annotations

import enum
import hashlib
import logging
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import structs

from octoedge.api import devices as api
from octoedge.dmi import convert
from octoedge.dmi import messages as m
from octoedge.dmi.messages import CODEC
from octoedge.errors import MessageError

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""(`device` or `devicemodel`, `<namespace>/<name>`)"""


class Verb(enum.IntEnum):
    """What is done, in the order in which it is done."""

    MODEL_NEW = 0
    MODEL_CHANGED = 1
    DEVICE_GONE = 2
    DEVICE_NEW = 3
    DEVICE_CHANGED = 4
    MODEL_GONE = 5


class Call(msgspec.Struct, frozen=True):
    """One thing to tell."""

    verb: Verb
    key: Key
    digest: str = ""
    """Of what is told; empty when the thing is gone."""


class Wanted(msgspec.Struct, frozen=True):
    """What a mapper should know, and why it cannot be told of the rest."""

    devices: Mapping[str, m.Device]
    models: Mapping[str, m.DeviceModel]
    troubles: Mapping[str, str]
    """Device id → what its mapper cannot be told."""
    copies: bool = False
    """Whether the mapper copies models into its devices."""

    def digests(self) -> dict[Key, str]:
        """A short form of each message, and of what it is copied into."""
        models = {key: CODEC.encode(one, m.DeviceModel) for key, one in self.models.items()}
        found = {(api.MODEL, key): _digest(data) for key, data in models.items()}
        for key, one in self.devices.items():
            copied = models[f"{one.namespace}/{one.spec.model}"] if self.copies else b""
            found[api.DEVICE, key] = _digest(CODEC.encode(one, m.Device) + copied)
        return found


def wanted(
    protocol: str, devices: Iterable[api.Device], models: Mapping[str, api.DeviceModel], *, wide: bool
) -> Wanted:
    """What the mapper of `protocol` should know; `models` by `<namespace>/<name>`, `wide` as in `dmi.values`."""
    told: dict[str, m.Device] = {}
    of_them: dict[str, m.DeviceModel] = {}
    troubles: dict[str, str] = {}
    for device in devices:
        if device.spec.protocol.protocol_name != protocol:
            continue
        name = f"{device.metadata.namespace}/{device.model_name}"
        model = models.get(name)
        if model is None:
            troubles[device.id] = f"its model {name} is not here (yet)"
            continue
        try:
            told[device.id] = convert.device(device, model, wide=wide)
        except MessageError as error:
            troubles[device.id] = str(error)
            continue
        of_them[name] = convert.device_model(model)
        if not wide:
            told[device.id], strange = _known_to(of_them[name], told[device.id])
            if strange:
                troubles[device.id] = (
                    f"its model {name} has no property {', '.join(strange)}; its mapper is not told of what it would"
                    " end of"
                )
    return Wanted(told, of_them, troubles, copies=not wide)


def _known_to(model: m.DeviceModel, told: m.Device) -> tuple[m.Device, list[str]]:
    """The device with what its model has, and the names of the rest."""
    names = {prop.name for prop in model.spec.properties}
    strange = [prop.name for prop in told.spec.properties if prop.name not in names]
    if not strange:
        return told, strange
    kept = tuple(prop for prop in told.spec.properties if prop.name in names)
    return structs.replace(told, spec=structs.replace(told.spec, properties=kept)), strange


def plan(wants: Mapping[Key, str], told: Mapping[Key, str]) -> list[Call]:
    """The calls that bring a mapper from what it was told to what it should know."""
    calls: list[Call] = []
    for key, digest in wants.items():
        if key not in told:
            calls.append(Call(Verb.MODEL_NEW if key[0] == api.MODEL else Verb.DEVICE_NEW, key, digest))
        elif told[key] != digest:
            calls.append(Call(Verb.MODEL_CHANGED if key[0] == api.MODEL else Verb.DEVICE_CHANGED, key, digest))
    gone = told.keys() - wants.keys()
    calls.extend(Call(Verb.MODEL_GONE if key[0] == api.MODEL else Verb.DEVICE_GONE, key) for key in gone)
    return sorted(calls, key=lambda call: (call.verb, call.key))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
