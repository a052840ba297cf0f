"""Decoded YAML → a typed section, strictly: unknown keys and wrong types are errors that name the path.

What Go's decoder accepts without a loss is accepted too: keys in another case, and null for a plain value (the default
stays) or for a list or map (empty).
"""

from __future__ import annotations

import types
import typing
from typing import Any, TypeVar

import msgspec
from msgspec.structs import FieldInfo
from msgspec.structs import fields as struct_fields

from octoedge.api.config.section import Section, decode_hook
from octoedge.errors import ConfigError

S = TypeVar("S", bound=Section)

MOVED = {
    "modules.edged.labels": "modules.edged.nodeLabels",
    "modules.edged.taints": "modules.edged.tailoredKubeletConfig.registerWithTaints",
    "modules.edged.nodeStatusUpdateFrequency": "modules.edged.tailoredKubeletConfig.nodeStatusUpdateFrequency",
    "modules.edged.remoteRuntimeEndpoint": "modules.edged.tailoredKubeletConfig.containerRuntimeEndpoint",
    "modules.edged.remoteImageEndpoint": "modules.edged.tailoredKubeletConfig.imageServiceEndpoint",
    "modules.edged.clusterDNS": "modules.edged.tailoredKubeletConfig.clusterDNS (a list)",
    "modules.edged.clusterDomain": "modules.edged.tailoredKubeletConfig.clusterDomain",
    "modules.edged.runtimeRequestTimeout": "modules.edged.tailoredKubeletConfig.runtimeRequestTimeout",
    "modules.edged.registerNode": "modules.edged.tailoredKubeletConfig.registerNode",
    "modules.edged.imageGCHighThreshold": "modules.edged.tailoredKubeletConfig.imageGCHighThresholdPercent",
    "modules.edged.imageGCLowThreshold": "modules.edged.tailoredKubeletConfig.imageGCLowThresholdPercent",
    "modules.edged.maximumDeadContainersPerPod": "modules.edged.maxPerPodContainerCount",
    "modules.edged.cgroupDriver": "modules.edged.tailoredKubeletConfig.cgroupDriver",
    "modules.edged.cgroupsPerQOS": "modules.edged.tailoredKubeletConfig.cgroupsPerQOS",
    "modules.edged.cgroupRoot": "modules.edged.tailoredKubeletConfig.cgroupRoot",
    "modules.edged.systemCgroups": "modules.edged.tailoredKubeletConfig.systemCgroups",
    "modules.edged.volumeStatsAggPeriod": "modules.edged.tailoredKubeletConfig.volumeStatsAggPeriod",
    "modules.edged.edgeCoreCgroups": "modules.edged.tailoredKubeletConfig.kubeletCgroups",
}
"""Where keys of edgecore.config.kubeedge.io/v1alpha1 (up to KubeEdge 1.11) stand now."""


def convert(data: Any, kind: type[S], where: str) -> S:
    """`data` as a section of `kind`; `ConfigError` names `where` and every wrong key."""
    try:
        return msgspec.convert(data, kind, dec_hook=decode_hook)
    except (msgspec.ValidationError, RecursionError):
        problems: list[str] = []
        tidied = _tidy(data, kind, "", problems)
    if not problems:
        try:
            return msgspec.convert(tidied, kind, dec_hook=decode_hook)
        except msgspec.ValidationError as error:
            problems = [_sentence(str(error))]
    raise ConfigError(f"{where}: " + "; ".join(problems))


def _tidy(value: Any, kind: Any, path: str, problems: list[str]) -> Any:
    """`value` with keys in their right case and nulls resolved; what cannot be right is added to `problems`."""
    kind = _without_none(kind)
    if typing.get_origin(kind) is tuple and isinstance(value, list):
        item = typing.get_args(kind)[0]
        return [_tidy(one, item, f"{path}[{number}]", problems) for number, one in enumerate(value)]
    if not (isinstance(kind, type) and issubclass(kind, Section)):
        return value
    if not isinstance(value, dict):
        problems.append(f"{path or 'the file'} must be a section with keys, not {_named(value)}")
        return value
    return _tidy_section(value, kind, path, problems)


def _tidy_section(value: dict[Any, Any], kind: type[Section], path: str, problems: list[str]) -> dict[str, Any]:
    known = {info.encode_name: info for info in struct_fields(kind)}
    folded = {name.lower(): name for name in known}
    result: dict[str, Any] = {}
    for key, inner in value.items():
        name = key if key in known else folded.get(str(key).lower(), "")
        inner_path = f"{path}.{key}".lstrip(".")
        if not name:
            problems.append(_unknown(inner_path, str(key), list(known)))
        elif name in result:
            problems.append(f"{inner_path} is given twice")
        elif inner is None:
            result.update(_null(known[name], name, inner_path, problems))
        else:
            result[name] = _tidy(inner, known[name].type, inner_path, problems)
    return result


def _null(info: FieldInfo, name: str, path: str, problems: list[str]) -> dict[str, Any]:
    kind = info.type
    if _without_none(kind) is not kind:
        return {name: None}
    origin = typing.get_origin(kind)
    if origin is tuple:
        return {name: []}
    if origin is dict:
        return {name: {}}
    if isinstance(kind, type) and issubclass(kind, Section):
        problems.append(f"{path} is empty; remove the key or give the section its keys")
    return {}


def _without_none(kind: Any) -> Any:
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind
    rest = tuple(arm for arm in typing.get_args(kind) if arm is not type(None))
    return rest[0] if len(rest) == 1 else kind


def _unknown(path: str, key: str, known: list[str]) -> str:
    moved = MOVED.get(path)
    if moved:
        return f"{path} is a key of an older format; it is {moved} now"
    import difflib  # only for a person's mistakes; the agent that loads a right file does without

    near = difflib.get_close_matches(key, known, 1, 0.5)
    hint = f"the nearest is {near[0]!r}" if near else f"known: {', '.join(known)}"
    return f"{path} is not a known key; {hint}"


def _sentence(text: str) -> str:
    """msgspec's message with the path first."""
    what, _, path = text.rpartition(" - at ")
    if not what:
        what, path = text, ""
    path = path.strip("`").removeprefix("$").lstrip(".")
    return f"{path or 'the file'}: {what[:1].lower()}{what[1:]}"


def _named(value: Any) -> str:
    names = {list: "a list", str: "text", type(None): "nothing", bool: "true or false", int: "a number"}
    return names.get(type(value), type(value).__name__)
