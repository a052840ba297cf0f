"""Ephemeral containers of a Pod: only ever added, through `pods/ephemeralcontainers` (`kubectl debug`). Pure."""

from __future__ import annotations

from typing import Any

from octoedge.apiserver.writing.metadata import Cause, duplicate, forbidden_field, label, required, wrong

Json = dict[str, Any]

_FIELD = "ephemeralContainers"
_PATH = f"spec.{_FIELD}"
_MIRROR = "kubernetes.io/config.mirror"
_NOT_ALLOWED = "cannot be set for an Ephemeral Container"
_ALLOWED = frozenset(
    """name image command args workingDir envFrom env volumeMounts volumeDevices terminationMessagePath
    terminationMessagePolicy imagePullPolicy securityContext stdin stdinOnce tty targetContainerName""".split()  # noqa: SIM905
)


def take(new: Json, old: Json) -> Json:
    """The old Pod with the new one's ephemeral containers: nothing else is written this way."""
    spec = {key: value for key, value in old["spec"].items() if key != _FIELD}
    added = (new.get("spec") or {}).get(_FIELD)
    return {**old, "spec": {**spec, _FIELD: added} if added else spec}


def check_new(obj: Json) -> list[Cause]:
    """A Pod cannot begin with ephemeral containers."""
    if (obj.get("spec") or {}).get(_FIELD):
        return [forbidden_field(_PATH, "cannot be set on create")]
    return []


def check(new: Json, old: Json) -> list[Cause]:
    """What is wrong with the ephemeral containers of `new`."""
    if _MIRROR in (old["metadata"].get("annotations") or {}):
        return [forbidden_field("", "static pods do not support ephemeral containers")]
    spec = new["spec"]
    mine: list[Json] = spec.get(_FIELD) or []
    others = [one["name"] for group in ("initContainers", "containers") for one in spec.get(group) or []]
    volumes = {volume.get("name") for volume in spec.get("volumes") or []}
    causes: list[Cause] = []
    for index, container in enumerate(mine):
        path = f"{_PATH}[{index}]"
        taken = [*others, *(one.get("name") for one in mine[:index])]
        causes += _names(container, path, taken, others) + _fields(container, path) + _mounts(container, path, volumes)
    return causes + _kept(mine, old["spec"].get(_FIELD) or [])


def _names(container: Json, path: str, taken: list[Any], targets: list[Any]) -> list[Cause]:
    causes: list[Cause] = []
    name, target = container.get("name") or "", container.get("targetContainerName") or ""
    if not name:
        causes.append(required(f"{path}.name"))
    elif label(name):
        causes.append(wrong(f"{path}.name", name, label(name)))
    elif name in taken:
        causes.append(duplicate(f"{path}.name", name))
    if not container.get("image"):
        causes.append(required(f"{path}.image"))
    if target and target not in targets:
        causes.append(("FieldValueNotFound", f"{path}.targetContainerName", f'Not found: "{target}"'))
    return causes


def _fields(container: Json, path: str) -> list[Cause]:
    return [
        forbidden_field(f"{path}.{field}", _NOT_ALLOWED)
        for field, value in container.items()
        if field not in _ALLOWED and value not in (None, {}, [], "")
    ]


def _mounts(container: Json, path: str, volumes: set[Any]) -> list[Cause]:
    causes: list[Cause] = []
    for number, mount in enumerate(container.get("volumeMounts") or []):
        here = f"{path}.volumeMounts[{number}]"
        if mount.get("name") not in volumes:
            causes.append(("FieldValueNotFound", f"{here}.name", f'Not found: "{mount.get("name")}"'))
        causes += [
            forbidden_field(f"{here}.{field}", _NOT_ALLOWED) for field in ("subPath", "subPathExpr") if mount.get(field)
        ]
    return causes


def _kept(now: list[Json], before: list[Json]) -> list[Cause]:
    """What was there stays as it was."""
    by_name = {one.get("name"): one for one in now}
    causes: list[Cause] = []
    for old in before:
        name = old.get("name")
        if name not in by_name:
            causes.append(forbidden_field(_PATH, f'existing ephemeral containers "{name}" may not be removed\n'))
        elif by_name[name] != old:
            causes.append(forbidden_field(_PATH, f'existing ephemeral containers "{name}" may not be changed\n'))
    return causes
