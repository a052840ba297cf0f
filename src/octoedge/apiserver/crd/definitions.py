"""A structural schema as definitions of the schema table: server-side apply merges and owns by the keys of lists."""

from __future__ import annotations

from octoedge.apiserver.crd.structural import Structural
from octoedge.apiserver.schema.schema import Definition, Field

_SCALARS = {"string": "string", "boolean": "boolean", "integer": "int64", "number": "number"}
_METADATA = "meta.v1.ObjectMeta"


def definitions(root: Structural, name: str) -> dict[str, Definition]:
    """The definitions of a kind by name; the kind's own is `name`."""
    found: dict[str, Definition] = {}
    fields = _add(found, root, name).fields
    fields |= {key: Field(key, "", "string", name) for key in ("apiVersion", "kind")}
    fields["metadata"] = Field("metadata", "", _METADATA, name)
    return found


def _add(found: dict[str, Definition], schema: Structural, name: str) -> Definition:
    definition = found[name] = Definition(name)
    for key, inner in schema.properties.items():
        definition.fields[key] = _field(found, inner, key, name)
    return definition


def _field(found: dict[str, Definition], schema: Structural, key: str, owner: str) -> Field:
    shape, inner = "", schema
    while True:
        if inner.type == "array" and inner.items is not None:
            shape, inner = shape + "[]", inner.items
        elif inner.type == "object" and inner.additional is not None and not inner.properties:
            shape, inner = shape + "{}", inner.additional
        else:
            break
    return Field(
        key,
        shape,
        _type(found, inner, f"{owner}.{key}"),
        owner,
        list_type=schema.list_type,
        map_keys=schema.map_keys,
        atomic=schema.atomic,
    )


def _type(found: dict[str, Definition], schema: Structural, name: str) -> str:
    if schema.embedded or (schema.type == "object" and schema.properties):
        _add(found, schema, name)
        return name
    return _SCALARS.get(schema.type, "object" if schema.type == "object" else "any")
