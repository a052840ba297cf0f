"""KubeEdge's devices in their two versions: v1alpha2, as manifests before 1.15 have them, and v1beta1, which is kept.

    v1alpha2 ──upgraded──► v1beta1 (stored) ──downgraded──► v1alpha2

KubeEdge itself only renames the version and so loses what the other one calls differently. What v1alpha2 cannot say
rides in an annotation, so that a change made through v1alpha2 takes nothing away. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

GROUP = "devices.kubeedge.io"
OLD, NEW = f"{GROUP}/v1alpha2", f"{GROUP}/v1beta1"
KEPT = "octoedge.io/v1beta1"
"""Annotation of a v1alpha2 object: what only v1beta1 can say."""
NANOSECONDS = 1_000_000
"""Cycles of v1alpha2 were nanoseconds; a number under one millisecond's worth of them is taken for milliseconds."""

_PROTOCOLS = ("opcua", "modbus", "bluetooth")
_DEVICE_ONLY = ("methods", "stateReport")
_PROPERTY_ONLY = ("reportToCloud", "pushMethod")


def converted(obj: Json, api_version: str) -> Json:
    """The object in the other version; unchanged when it is of no kind that is known here."""
    convert = _CONVERTERS.get((obj.get("kind", ""), obj.get("apiVersion", ""), api_version))
    return obj if convert is None else convert(obj)


# ---- Device ----------------------------------------------------------------------------------------------------------


def _device_upgraded(obj: Json) -> Json:
    spec, status, kept = obj.get("spec") or {}, obj.get("status") or {}, _kept(obj)
    wishes: Json = {twin.get("propertyName", ""): twin.get("desired") for twin in status.get("twins") or ()}
    apart = {one.get("propertyName") for one in (spec.get("data") or {}).get("dataProperties") or ()}
    visitors = {visitor.get("propertyName", ""): visitor for visitor in spec.get("propertyVisitors") or ()}
    properties = []
    for name in dict.fromkeys([*visitors, *wishes]):  # a device that only speaks MQTT has twins and no visitors
        visitor = visitors.get(name, {})
        prop: Json = {"name": name, "visitors": _visitor(visitor), "reportToCloud": name not in apart}
        prop |= {key: _milliseconds(visitor[key]) for key in ("collectCycle", "reportCycle") if visitor.get(key)}
        prop |= (kept.get("properties") or {}).get(name) or {}
        if wishes.get(name):
            prop["desired"] = wishes[name]
        properties.append(prop)
    new: Json = {"deviceModelRef": spec.get("deviceModelRef") or {"name": ""}, "protocol": _protocol(spec)}
    node = _node(spec)
    new |= {"nodeName": node} if node else {}
    new |= {"properties": properties} if properties else {}
    new |= {key: kept[key] for key in _DEVICE_ONLY if key in kept}
    return {**_renamed(obj, NEW), "spec": new}


def _device_downgraded(obj: Json) -> Json:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    reported = {twin.get("propertyName"): twin.get("reported") for twin in status.get("twins") or ()}
    visitors: list[Json] = []
    twins: list[Json] = []
    properties: Json = {}
    for prop in spec.get("properties") or ():
        name = prop.get("name", "")
        visitor = {"propertyName": name, "customizedProtocol": _settings(prop.get("visitors"))}
        visitor |= {key: prop[key] * NANOSECONDS for key in ("collectCycle", "reportCycle") if prop.get(key)}
        visitors += [visitor] if len(visitor) > 2 or visitor["customizedProtocol"] else []
        twin = {"propertyName": name, "desired": prop.get("desired") or {"value": ""}}
        twins.append(twin | ({"reported": reported[name]} if reported.get(name) else {}))
        properties[name] = {key: prop[key] for key in _PROPERTY_ONLY if key in prop}
    old: Json = {
        "deviceModelRef": spec.get("deviceModelRef") or {"name": ""},
        "protocol": {"customizedProtocol": _settings(spec.get("protocol"))},
        "propertyVisitors": visitors,
    }
    if spec.get("nodeName"):
        match = {"key": "", "operator": "In", "values": [spec["nodeName"]]}
        old["nodeSelector"] = {"nodeSelectorTerms": [{"matchExpressions": [match]}]}
    kept = {key: spec[key] for key in _DEVICE_ONLY if key in spec}
    return {**_renamed(obj, OLD, {**kept, "properties": properties}), "spec": old, "status": {"twins": twins}}


def _node(spec: Json) -> str:
    """KubeEdge read one place only, whatever its key and operator say."""
    try:
        return str(spec["nodeSelector"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"][0])
    except (KeyError, IndexError, TypeError):
        return ""


def _protocol(spec: Json) -> Json:
    said = spec.get("protocol") or {}
    name, settings = _named(said)
    common = said.get("common") or {}
    flat: Json = {**(common.get("com") or {}), **(common.get("tcp") or {})}
    flat |= {key: value for key, value in common.items() if key not in ("com", "tcp", "customizedValues")}
    flat |= common.get("customizedValues") or {}
    if name == "modbus" and (common.get("com") or common.get("tcp")):
        flat["communicateMode"] = "RTU" if common.get("com") else "TCP"
    return _settings({"protocolName": name, "configData": {**flat, **settings}})


def _visitor(visitor: Json) -> Json:
    name, settings = _named(visitor)
    if name in _PROTOCOLS:
        # Bluetooth's dataConverter and dataWrite: KubeEdge's EdgeCore has no way for an object to a mapper.
        settings = {key: _one_value(value) for key, value in settings.items()}
    return _settings({"protocolName": name, "configData": {**settings, **(visitor.get("customizedValues") or {})}})


def _one_value(value: Any) -> Any:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, dict | list) else value


def _named(said: Json) -> tuple[str, Json]:
    """Name and settings of the one protocol that is filled in."""
    for name in _PROTOCOLS:
        if said.get(name) is not None:
            return name, dict(said[name])
    custom = said.get("customizedProtocol") or {}
    return str(custom.get("protocolName") or ""), dict(custom.get("configData") or {})


def _settings(said: Json | None) -> Json:
    """Without what is empty."""
    return {key: value for key, value in (said or {}).items() if value}


def _milliseconds(cycle: int) -> int:
    return cycle // NANOSECONDS if cycle >= NANOSECONDS else cycle


# ---- DeviceModel -----------------------------------------------------------------------------------------------------


def _model_upgraded(obj: Json) -> Json:
    spec, kept = obj.get("spec") or {}, _kept(obj)
    properties = []
    for prop in spec.get("properties") or ():
        new: Json = {key: prop[key] for key in ("name", "description") if key in prop}
        kinds: list[tuple[str, Json]] = [(k, v) for k, v in (prop.get("type") or {}).items() if v is not None]
        kind, about = kinds[0] if kinds else ("string", {})
        new["type"] = kind.upper()
        new |= {key: about[key] for key in ("accessMode", "unit") if about.get(key)}
        new |= {key: _text(about[key]) for key in ("minimum", "maximum") if about.get(key)}
        properties.append(new | ((kept.get("properties") or {}).get(prop.get("name")) or {}))
    made: Json = {"properties": properties}
    made |= {
        key: spec.get(key) or kept.get(key)
        for key in ("protocol", "protocolConfigData")
        if spec.get(key) or kept.get(key)
    }
    return {**_renamed(obj, NEW), "spec": made}


def _model_downgraded(obj: Json) -> Json:
    spec = obj.get("spec") or {}
    properties: list[Json] = []
    kept: Json = {}
    for prop in spec.get("properties") or ():
        kind = str(prop.get("type", "STRING"))
        about = {key: prop[key] for key in ("accessMode", "unit") if prop.get(key)}
        if kind in _NUMBERS:
            about |= {
                key: bound for key in ("minimum", "maximum") if (bound := _number(prop.get(key), kind)) is not None
            }
        else:
            about.pop("unit", None)
        old = {key: prop[key] for key in ("name", "description") if key in prop}
        properties.append(
            {**old, "type": {kind.lower(): about}} if kind != "STREAM" else {**old, "type": {"string": about}}
        )
        kept[prop.get("name", "")] = {key: prop[key] for key in ("visitors", "type") if key in prop}
    made: Json = {"properties": properties, **({"protocol": spec["protocol"]} if spec.get("protocol") else {})}
    rest = {key: spec[key] for key in ("protocolConfigData",) if key in spec}
    return {**_renamed(obj, OLD, {**rest, "properties": kept}), "spec": made}


_NUMBERS: dict[str, Callable[[float], float]] = {"INT": int, "FLOAT": float, "DOUBLE": float}


def _text(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else str(bound)


def _number(said: Any, kind: str) -> float | None:
    try:
        return _NUMBERS[kind](float(said))
    except (TypeError, ValueError, OverflowError):
        return None


# ---- both ------------------------------------------------------------------------------------------------------------


def _renamed(obj: Json, api_version: str, keep: Json | None = None) -> Json:
    metadata = dict(obj.get("metadata") or {})
    annotations = {key: value for key, value in (metadata.pop("annotations", None) or {}).items() if key != KEPT}
    if keep is not None:
        annotations[KEPT] = json.dumps(keep, separators=(",", ":"), sort_keys=True)
    metadata |= {"annotations": annotations} if annotations else {}
    return {**obj, "apiVersion": api_version, "metadata": metadata}


def _kept(obj: Json) -> Json:
    said = ((obj.get("metadata") or {}).get("annotations") or {}).get(KEPT, "{}")
    try:
        kept = json.loads(said)
    except ValueError:
        return {}
    return kept if isinstance(kept, dict) else {}


_CONVERTERS: dict[tuple[str, str, str], Callable[[Json], Json]] = {
    ("Device", OLD, NEW): _device_upgraded,
    ("Device", NEW, OLD): _device_downgraded,
    ("DeviceModel", OLD, NEW): _model_upgraded,
    ("DeviceModel", NEW, OLD): _model_downgraded,
}
