"""The resource path of a message: one parse, one format (spec: channel, section 3.4).

    <namespace>/<type>[/<name>]          on the wire
    node/<node>/<namespace>/<type>[/<name>]   on the Go cloud's own bus; never ours

Cluster-scoped objects use the literal namespace `null`. Everything that is not of this form (`node`,
`membership/detail`, `k8s/ca.crt`, device twin paths …) is a special resource that the route table knows by its text.
"""

from __future__ import annotations

import msgspec

from octoedge.errors import ResourceError

CLUSTER = "null"
"""The namespace that cluster-scoped objects have on the wire."""

MAX_LENGTH = 1024
"""Characters; a namespace, a type and a name of 253 characters each fit well."""


class Resource(msgspec.Struct, frozen=True, order=True):
    """One object, or all of a type when `name` is empty."""

    namespace: str
    type: str
    name: str = ""

    def __str__(self) -> str:
        path = f"{self.namespace}/{self.type}"
        return f"{path}/{self.name}" if self.name else path

    @property
    def cluster_scoped(self) -> bool:
        """Whether the object lives in no namespace."""
        return self.namespace == CLUSTER


def parse(text: str) -> Resource:
    """The resource that `text` names; `ResourceError` when it is none."""
    if len(text) > MAX_LENGTH:
        raise ResourceError(f"a resource path of {len(text)} characters is longer than {MAX_LENGTH}")
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise ResourceError(f"{text!r} is not <namespace>/<type>[/<name>]")
    return Resource(*parts)
