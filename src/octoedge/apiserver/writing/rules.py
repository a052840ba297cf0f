"""The rules of kinds: what makes an object Invalid (422), in the sentences that kubectl users know.

`structure` holds for all kinds (required values, enumerations, from the schema); the other functions for one kind each.
"""

from __future__ import annotations

import re
from typing import Any

from octoedge.apiserver.scheduling.placing import rules as placement
from octoedge.apiserver.schema.quantity import parse
from octoedge.apiserver.schema.schema import Definition, Field, Schema
from octoedge.apiserver.writing.metadata import Cause, duplicate, forbidden_field, label, required, wrong

Json = dict[str, Any]

MAX_DATA = 1024 * 1024
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")


def structure(schema: Schema, definition: Definition, obj: Json, path: str = "") -> list[Cause]:
    """Required values that are empty, and values that are none of the enumeration. The status is the server's own."""
    causes: list[Cause] = []
    for field in definition.checked:
        value = obj.get(field.name)
        if value is None and not field.required:
            continue
        here = f"{path}.{field.name}" if path else field.name
        if here in ("status", "metadata"):
            continue
        if field.required and not field.is_definition and value in (None, "", 0, []):
            causes += [] if _zero_is_fine(field, value) else [required(here)]
        elif field.required and field.shape and not value:
            causes += [] if field.name in _MAY_BE_EMPTY else [required(here)]
        elif value is not None:
            if field.enum:
                causes += _enumerated(field, value, here)
            if field.is_definition:
                causes += _inside(schema, field, field.shape, value, here)
    return causes


_MAY_BE_EMPTY = ("endpoints", "drivers")
"""Lists of an EndpointSlice and a CSINode that are required, and may have nothing in them."""


def _zero_is_fine(field: Field, value: Any) -> bool:
    if isinstance(value, bool):
        return True
    return field.name in ("weight", "defaultMode", "value", "apiGroup", "lun", "revision") and value is not None


def _enumerated(field: Field, value: Any, path: str) -> list[Cause]:
    if value in field.enum or (value == "" and not field.required):
        return []
    shown = ", ".join(f'"{one}"' for one in sorted(field.enum))
    return [("FieldValueNotSupported", path, f'Unsupported value: "{value}": supported values: {shown}')]


def _inside(schema: Schema, field: Field, shape: str, value: Any, path: str) -> list[Cause]:
    if not shape:
        return structure(schema, schema[field.type], value, path)
    if shape.startswith("[]"):
        parts = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    else:
        parts = [(f"{path}[{key}]", item) for key, item in value.items()]
    return [cause for here, item in parts for cause in _inside(schema, field, shape[2:], item, here)]


def pod(obj: Json) -> list[Cause]:
    """The rules of a new Pod."""
    spec = obj.get("spec") or {}
    causes = [*_volumes(spec), *placement.check(spec)]
    volumes = {volume.get("name") for volume in spec.get("volumes") or []}
    seen: set[str] = set()
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or []):
            causes += _container(container, f"spec.{group}[{index}]", volumes, seen, bool(spec.get("hostNetwork")))
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        causes.append(wrong("spec.terminationGracePeriodSeconds", spec["terminationGracePeriodSeconds"], _NOT_NEGATIVE))
    if not spec.get("containers"):
        causes = [cause for cause in causes if cause[1] != "spec.containers"] + [required("spec.containers")]
    return causes


_NOT_NEGATIVE = "must be greater than or equal to 0"


def _volumes(spec: Json) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or []):
        path, name = f"spec.volumes[{index}]", volume.get("name") or ""
        if name and label(name):
            causes.append(wrong(f"{path}.name", name, label(name)))
        if name in seen:
            causes.append(duplicate(f"{path}.name", name))
        seen.add(name)
        sources = [key for key in volume if key != "name"]
        if len(sources) > 1:
            causes.append(forbidden_field(f"{path}.{sources[1]}", "may not specify more than 1 volume type"))
        if not sources:
            causes.append(required(path, "must specify a volume type"))
    return causes


def _container(container: Json, path: str, volumes: set[Any], seen: set[str], host_network: bool) -> list[Cause]:
    name = container.get("name") or ""
    causes: list[Cause] = []
    if name and label(name):
        causes.append(wrong(f"{path}.name", name, label(name)))
    if name in seen:
        causes.append(duplicate(f"{path}.name", name))
    seen.add(name)
    if not container.get("image"):
        causes.append(required(f"{path}.image"))
    elif container["image"] != container["image"].strip():
        causes.append(wrong(f"{path}.image", container["image"], "must not have leading or trailing whitespace"))
    for index, mount in enumerate(container.get("volumeMounts") or []):
        if mount.get("name") and mount["name"] not in volumes:
            text = f'Not found: "{mount["name"]}"'
            causes.append(("FieldValueNotFound", f"{path}.volumeMounts[{index}].name", text))
    paths = [mount.get("mountPath") for mount in container.get("volumeMounts") or []]
    for index, mount_path in enumerate(paths):
        if mount_path and mount_path in paths[:index]:
            causes.append(wrong(f"{path}.volumeMounts[{index}].mountPath", mount_path, "must be unique"))
    causes += _ports(container, path, host_network)
    return causes + _resources(container.get("resources") or {}, f"{path}.resources")


def _ports(container: Json, path: str, host_network: bool) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for index, port in enumerate(container.get("ports") or []):
        here, number = f"{path}.ports[{index}]", port.get("containerPort") or 0
        if number and not 0 < number < 65536:
            causes.append(wrong(f"{here}.containerPort", number, "must be between 1 and 65535, inclusive"))
        if port.get("hostPort") and not 0 < port["hostPort"] < 65536:
            causes.append(wrong(f"{here}.hostPort", port["hostPort"], "must be between 1 and 65535, inclusive"))
        elif host_network and port.get("hostPort") != number:
            text = "must match `containerPort` when `hostNetwork` is true"
            causes.append(wrong(f"{here}.hostPort", port.get("hostPort"), text))
        name = port.get("name") or ""
        if name and not _PORT_NAME.fullmatch(name):
            text = "must be no more than 15 lower case alphanumeric characters or '-', with at least one letter"
            causes.append(wrong(f"{here}.name", name, text))
        if name and name in names:
            causes.append(duplicate(f"{here}.name", name))
        names.add(name)
    return causes


def _resources(resources: Json, path: str) -> list[Cause]:
    causes: list[Cause] = []
    limits = resources.get("limits") or {}
    for name, text in (resources.get("requests") or {}).items():
        if name in limits and parse(text) > parse(limits[name]):
            shown = f"must be less than or equal to {name} limit of {limits[name]}"
            causes.append(wrong(f"{path}.requests", text, shown))
        if parse(text) < 0:
            causes.append(wrong(f"{path}.requests[{name}]", text, _NOT_NEGATIVE))
    return causes


_POD_MAY_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def pod_update(new: Json, old: Json) -> list[Cause]:
    """What may not change in a Pod."""
    before, after = old.get("spec") or {}, new.get("spec") or {}
    causes: list[Cause] = []
    kept = before.get("tolerations") or []
    if any(toleration not in (after.get("tolerations") or []) for toleration in kept):
        causes.append(forbidden_field("spec.tolerations", "existing toleration can not be modified except its seconds"))
    gates = before.get("schedulingGates") or []
    if any(gate not in gates for gate in after.get("schedulingGates") or []):
        causes.append(
            forbidden_field("spec.schedulingGates", "only deletion is allowed, but found new scheduling gate")
        )
    if _fixed(before) != _fixed(after):
        changed = sorted(key for key in {*before, *after} if _fixed(before).get(key) != _fixed(after).get(key))
        causes.append(forbidden_field("spec", f"{_POD_MAY_CHANGE}; changed: {', '.join(changed)}"))
    return causes


def _fixed(spec: Json) -> Json:
    """The part of a Pod's spec that may not change."""
    free = ("activeDeadlineSeconds", "tolerations", "schedulingGates")
    fixed = {key: value for key, value in spec.items() if key not in free}
    for group in ("containers", "initContainers"):
        if group in fixed:
            fixed[group] = [{**container, "image": ""} for container in fixed[group]]
    return fixed


def data(obj: Json) -> list[Cause]:
    """ConfigMaps and Secrets: keys and size."""
    keys = [(field, key) for field in ("data", "binaryData") for key in obj.get(field) or {}]
    causes = [
        wrong(f"{field}[{key}]", key, "a valid config key must consist of alphanumeric characters, '-', '_' or '.'")
        for field, key in keys
        if not _KEY.fullmatch(key)
    ]
    if sum(_size(obj, field, value) for field, key in keys for value in [obj[field][key]]) > MAX_DATA:
        causes.append(("FieldValueTooLong", "data", f"Too long: may not be more than {MAX_DATA} bytes"))
    return causes


def _size(obj: Json, field: str, value: str) -> int:
    """Bytes of a value; what a Secret or binaryData holds is counted as it is before base64."""
    if obj["kind"] == "ConfigMap" and field == "data":
        return len(value.encode())
    return len(value) * 3 // 4 - value[-2:].count("=")


def data_update(new: Json, old: Json) -> list[Cause]:
    """An immutable ConfigMap or Secret stays as it is."""
    causes: list[Cause] = []
    if old.get("immutable"):
        causes += [
            forbidden_field(field, "field is immutable when `immutable` is set")
            for field in ("data", "binaryData", "immutable")
            if new.get(field) != old.get(field)
        ]
    if old["kind"] == "Secret" and new.get("type") != old.get("type"):
        causes.append(wrong("type", new.get("type"), "field is immutable"))
    return causes


def event(obj: Json) -> list[Cause]:
    """An Event lies in the namespace of what it tells of."""
    involved, namespace = obj.get("involvedObject") or {}, obj["metadata"].get("namespace")
    if involved.get("namespace") and involved["namespace"] != namespace:
        return [wrong("involvedObject.namespace", involved["namespace"], "does not match event.namespace")]
    return []
