"""What fields are for, in Kubernetes' own words: read at run time from the package kubernetes-validate, none copied.

It is an extra (`pip install 'octoedge[explain]'`). Without it `kubectl explain` shows fields and types, and says so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)

PACKAGE = "kubernetes_validate"
VERSION = "v1.32.0-local"
ABSENT = "No descriptions: they come with an extra of the API server, pip install 'octoedge[explain]'."
_MAX_BYTES = 32 * 1024 * 1024


class Described(msgspec.Struct, frozen=True):
    """A definition, or a field of one."""

    description: str = ""
    properties: dict[str, Described] = {}


class _Definitions(msgspec.Struct, frozen=True):
    definitions: dict[str, Described] = msgspec.field(name="$defs", default_factory=dict)


class Descriptions:
    """By the names that OpenAPI uses, `io.k8s.api.core.v1.Pod`; read when the first one is asked for."""

    def __init__(self, package: str = PACKAGE) -> None:
        self._package = package
        self._read: Mapping[str, Described] | None = None

    def of(self, name: str) -> Described | None:
        """What is said of a definition; None when there is nothing to read it from."""
        if self._read is None:
            self._read = _definitions(self._package)
        return self._read.get(name)


def _definitions(package: str) -> Mapping[str, Described]:
    found = find_spec(package)
    if found is None or found.origin is None:
        return {}
    folder = Path(found.origin).parent / "kubernetes-json-schema"
    path = folder / VERSION / "_definitions.json"
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_MAX_BYTES), type=_Definitions).definitions
    except (OSError, msgspec.DecodeError) as error:
        log.warning("kubectl explain has no descriptions: %s of package %s cannot be read: %s", path, package, error)
        return {}
