"""ConfigMaps and Secrets as pods use them: read through MetaManager, missing ones told apart from unreachable ones."""

from __future__ import annotations

from pathlib import Path

from octoedge.api.core import ConfigMap, Secret, view
from octoedge.edge.ports import Metadata
from octoedge.errors import ApiError, OctoedgeError, OfflineError
from octoedge.protocol.resource import Resource


class ObjectUnavailable(OctoedgeError):
    """A ConfigMap or Secret that a pod needs cannot be had; the text says which and why."""


_ROOT_CA = "kube-root-ca.crt"


class Objects:
    """Looks up what pods refer to; what pods trust as a Kubernetes API is this node's own too (`also_trusted`)."""

    def __init__(self, metadata: Metadata, also_trusted: Path | None = None) -> None:
        self._metadata = metadata
        self._also_trusted = also_trusted

    async def config_map(self, namespace: str, name: str, *, optional: bool = False) -> dict[str, bytes] | None:
        """Content of a ConfigMap; None when it may be and is missing."""
        obj = await self._get(Resource(namespace, "configmap", name), optional)
        if obj is None:
            return None
        found = view(ConfigMap, obj)
        text = {key: value.encode() for key, value in (found.data or {}).items()}
        if name == _ROOT_CA and self._also_trusted is not None and "ca.crt" in text:
            text["ca.crt"] = text["ca.crt"].rstrip() + b"\n" + _read(self._also_trusted)
        return {**text, **(found.binary_data or {})}

    async def secret(
        self, namespace: str, name: str, *, optional: bool = False, fresh: bool = False
    ) -> dict[str, bytes] | None:
        """Content of a Secret; None when it may be and is missing. `fresh`: the cloud does not send it by itself."""
        obj = await self._get(Resource(namespace, "secret", name), optional, fresh=fresh)
        if obj is None:
            return None
        return {key: value or b"" for key, value in (view(Secret, obj).data or {}).items()}

    async def _get(self, resource: Resource, optional: bool, *, fresh: bool = False) -> bytes | None:
        try:
            return await self._metadata.get(resource, fresh=fresh)
        except ApiError as error:
            if error.code == 404 and optional:
                return None
            raise ObjectUnavailable(error.message) from error
        except OfflineError as error:
            raise ObjectUnavailable(
                f'{resource.type} "{resource.name}" is not stored on this node and the cloud is away'
            ) from error


def _read(certificate: Path) -> bytes:
    """The PEM file; nothing while MetaServer has not made it."""
    try:
        return certificate.read_bytes()
    except OSError:
        return b""
