"""A container's environment: envFrom, env, references, and $(VAR) expansion.

Order and rules are the kubelet's: later entries win, $(VAR) sees what stands before it, what is not known stays as it
is written, $$ is a dollar sign.
"""

from __future__ import annotations

import re
from typing import Protocol

from octoedge.api.core import Container, EnvVar, EnvVarSource, KeySelector, LocalReference, Pod
from octoedge.edge.edged import downward
from octoedge.edge.edged.downward import Facts
from octoedge.edge.edged.objects import Objects, ObjectUnavailable


class _Lookup(Protocol):
    async def __call__(self, namespace: str, name: str, *, optional: bool = False) -> dict[str, bytes] | None: ...


_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")
_ENV_NAME = re.compile(r"[^=\0]+")


async def environment(pod: Pod, container: Container, facts: Facts, objects: Objects) -> dict[str, str]:
    """All variables of a container; `ObjectUnavailable` says what is missing."""
    variables: dict[str, str] = {}
    for source in container.env_from:
        for table in (
            await _all(objects.config_map, pod, source.config_map_ref),
            await _all(objects.secret, pod, source.secret_ref),
        ):
            pairs = {source.prefix + key: value.decode("utf-8", "replace") for key, value in table.items()}
            variables.update({key: value for key, value in pairs.items() if _ENV_NAME.fullmatch(key)})
    for variable in container.env:
        value = await _value(variable, pod, container, facts, objects, variables)
        if value is not None:
            variables[variable.name] = value
    return variables


def expand(text: str, variables: dict[str, str]) -> str:
    """`text` with each $(NAME) replaced."""

    def replace(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _REFERENCE.sub(replace, text)


async def _all(get: _Lookup, pod: Pod, reference: LocalReference | None) -> dict[str, bytes]:
    if reference is None:
        return {}
    table = await get(pod.metadata.namespace, reference.name, optional=reference.optional)
    return table or {}


async def _value(
    variable: EnvVar, pod: Pod, container: Container, facts: Facts, objects: Objects, before: dict[str, str]
) -> str | None:
    source = variable.value_from
    if source is None:
        return expand(variable.value, before)
    if source.field_ref is not None:
        return downward.field(source.field_ref, pod, facts)
    if source.resource_field_ref is not None:
        ref = source.resource_field_ref
        everyone = list(pod.spec.everyone())
        whose = next((c for c in everyone if c.name == ref.container_name), container)
        return downward.resource_field(ref, whose, facts)
    return await _referenced(source, pod, objects)


async def _referenced(source: EnvVarSource, pod: Pod, objects: Objects) -> str | None:
    if source.config_map_key_ref is not None:
        return await _key("ConfigMap", objects.config_map, pod, source.config_map_key_ref)
    if source.secret_key_ref is not None:
        return await _key("Secret", objects.secret, pod, source.secret_key_ref)
    return ""


async def _key(kind: str, get: _Lookup, pod: Pod, ref: KeySelector) -> str | None:
    table = await get(pod.metadata.namespace, ref.name, optional=ref.optional)
    if table is not None and ref.key in table:
        return table[ref.key].decode("utf-8", "replace")
    if ref.optional:
        return None
    raise ObjectUnavailable(f"couldn't find key {ref.key} in {kind} {pod.metadata.namespace}/{ref.name}")
