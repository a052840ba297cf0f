"""Which ConfigMaps, Secrets, claims and service accounts a pod refers to. Pure.

KubeEdge leaves out init containers; a pod then waits at the edge for what was never sent. Here they count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from octoedge.api.meta import ObjectMeta
from octoedge.errors import MessageError
from octoedge.protocol.resource import Resource


class _View(msgspec.Struct, frozen=True, rename="camel"):
    """Only what names something else is read."""


class _Named(_View, frozen=True, rename="camel"):
    name: str | None = None
    secret_name: str | None = None
    claim_name: str | None = None
    secret_ref: _Named | None = None
    node_publish_secret_ref: _Named | None = None


class _ValueFrom(_View, frozen=True, rename="camel"):
    config_map_key_ref: _Named | None = None
    secret_key_ref: _Named | None = None


class _Env(_View, frozen=True, rename="camel"):
    value_from: _ValueFrom | None = None


class _EnvFrom(_View, frozen=True, rename="camel"):
    config_map_ref: _Named | None = None
    secret_ref: _Named | None = None


class _Container(_View, frozen=True, rename="camel"):
    env: list[_Env] | None = None
    env_from: list[_EnvFrom] | None = None


class _Projected(_View, frozen=True, rename="camel"):
    config_map: _Named | None = None
    secret: _Named | None = None


class _Sources(_View, frozen=True, rename="camel"):
    sources: list[_Projected] | None = None


class _Volume(_View, frozen=True, rename="camel"):
    config_map: _Named | None = None
    secret: _Named | None = None
    projected: _Sources | None = None
    persistent_volume_claim: _Named | None = None
    csi: _Named | None = None
    flex_volume: _Named | None = None
    name: str = ""
    ephemeral: msgspec.Raw = msgspec.Raw(b"null")


class _Spec(_View, frozen=True, rename="camel"):
    node_name: str | None = None
    service_account_name: str | None = None
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None
    ephemeral_containers: list[_Container] | None = None
    volumes: list[_Volume] | None = None
    image_pull_secrets: list[_Named] | None = None


class _Pod(_View, frozen=True, rename="camel"):
    metadata: ObjectMeta = ObjectMeta()
    spec: _Spec = _Spec()


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What is needed of a pod to know what belongs to its node."""

    namespace: str
    name: str
    uid: str
    node: str
    service_account: str
    references: frozenset[Resource]
    """ConfigMaps and Secrets."""
    claims: frozenset[Resource]
    """PersistentVolumeClaims."""


def facts(pod: bytes) -> PodFacts:
    """The facts of a Pod; `MessageError` when it is none."""
    try:
        seen = msgspec.json.decode(pod, type=_Pod)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(f"not a Pod: {error}") from error
    spec, namespace = seen.spec, seen.metadata.namespace
    return PodFacts(
        namespace=namespace,
        name=seen.metadata.name,
        uid=seen.metadata.uid,
        node=spec.node_name or "",
        service_account=spec.service_account_name or "default",
        references=frozenset(
            Resource(namespace, kind, name)
            for kind, name in (*_of_volumes(spec), *_of_containers(spec), *_of_pulling(spec))
            if name
        ),
        claims=frozenset(
            Resource(namespace, "persistentvolumeclaim", name) for name in _claims(spec, seen.metadata.name) if name
        ),
    )


def _of_volumes(spec: _Spec) -> Iterator[tuple[str, str | None]]:
    for volume in spec.volumes or ():
        if volume.config_map:
            yield "configmap", volume.config_map.name
        if volume.secret:
            yield "secret", volume.secret.secret_name
        for provider in (volume.csi, volume.flex_volume):
            reference = provider and (provider.node_publish_secret_ref or provider.secret_ref)
            if reference:
                yield "secret", reference.name
        for part in (volume.projected.sources or ()) if volume.projected else ():
            if part.config_map:
                yield "configmap", part.config_map.name
            if part.secret:
                yield "secret", part.secret.name


def _of_containers(spec: _Spec) -> Iterator[tuple[str, str | None]]:
    for container in (*(spec.init_containers or ()), *(spec.containers or ()), *(spec.ephemeral_containers or ())):
        for source in container.env_from or ():
            yield "configmap", source.config_map_ref and source.config_map_ref.name
            yield "secret", source.secret_ref and source.secret_ref.name
        for variable in container.env or ():
            value = variable.value_from
            yield "configmap", value and value.config_map_key_ref and value.config_map_key_ref.name
            yield "secret", value and value.secret_key_ref and value.secret_key_ref.name


def _of_pulling(spec: _Spec) -> Iterator[tuple[str, str | None]]:
    for secret in spec.image_pull_secrets or ():
        yield "secret", secret.name


def _claims(spec: _Spec, pod: str) -> Iterator[str | None]:
    for volume in spec.volumes or ():
        if volume.persistent_volume_claim:
            yield volume.persistent_volume_claim.claim_name
        if bytes(volume.ephemeral) != b"null":
            yield f"{pod}-{volume.name}"
