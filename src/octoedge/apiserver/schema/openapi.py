"""OpenAPI v3, as much as kubectl needs: to validate (the server does it), to apply, and to explain the structure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from octoedge.apiserver.kinds import Kind, Kinds
from octoedge.apiserver.schema.descriptions import ABSENT, Descriptions
from octoedge.apiserver.schema.schema import Definition, Field, Schema
from octoedge.apiserver.serving.requests import Answer, Request, json_answer
from octoedge.apiserver.writing.rest import APPLY, JSON_PATCH, MERGE, STRATEGIC

Json = dict[str, Any]

_YEAR = 31536000
_V2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""OpenAPI v2 in protobuf, in which nothing at all is the empty document."""
_SCALARS: dict[str, Json] = {
    "string": {"type": "string"},
    "bytes": {"type": "string", "format": "byte"},
    "boolean": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "number": {"type": "number", "format": "double"},
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "intstr": {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
    "object": {"type": "object"},
    "any": {},
}
_NAMED = {
    "time": "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
    "microtime": "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
    "quantity": "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "intstr": "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
}
"""The scalars that Kubernetes has a schema for; `kubectl explain` shows its name as the type."""
_VERBS = {"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}


class OpenApi:
    """Answers below /openapi. Documents are made when they are first asked for."""

    def __init__(self, kinds: Kinds, schema: Schema, descriptions: Descriptions) -> None:
        self._kinds = kinds
        self._schema = schema
        self._descriptions = descriptions
        self._documents: dict[str, tuple[list[Kind], bytes, str]] = {}

    def answer(self, request: Request) -> Answer | None:
        """The document at a path; None when there is none."""
        path = request.path.rstrip("/")
        if path == "/openapi/v3":
            return self._index(request)
        if path == "/openapi/v2":
            # kubectl asks for it when v3 does not know a kind; without it, it complains of that and not of the kind.
            return Answer(b"", content_type=_V2)
        found = self._groups().get(path.removeprefix("/openapi/v3/"))
        if found is None:
            return None
        body, digest = self._document(path.removeprefix("/openapi/v3/"), found)
        fresh = request.query.get("hash") == digest
        headers = {"ETag": f'"{digest}"', "Vary": "Accept", "Cache-Control": "no-cache, private"}
        if fresh:
            headers |= {"Cache-Control": f"public, immutable, max-age={_YEAR}", "Expires": _FAR}
        return _unless_known(request, body, headers)

    def _index(self, request: Request) -> Answer:
        paths = {
            name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={self._document(name, kinds)[1]}"}
            for name, kinds in self._groups().items()
        }
        body = json_answer({"paths": paths}).body
        headers = {"ETag": f'"{_digest(body)}"', "Cache-Control": "no-cache, private", "Vary": "Accept"}
        return _unless_known(request, body, headers)

    def _groups(self) -> dict[str, list[Kind]]:
        groups = self._kinds.groups().values()
        return {kinds[0].root.strip("/"): kinds for kinds in groups if not kinds[0].measured}

    def _document(self, name: str, kinds: list[Kind]) -> tuple[bytes, str]:
        found = self._documents.get(name)
        if found is None or not _same(found[0], kinds):
            schemas: dict[str, Json] = {}
            for kind in kinds:
                if kind.custom is None:
                    self._add(schemas, self._schema.of_kind(kind.group, kind.version, kind.kind))
                else:
                    self._add(schemas, self._schema["meta.v1.ObjectMeta"])
                    schemas[_custom_name(kind)] = _custom(kind, kind.custom.openapi)
            document = {
                "openapi": "3.0.0",
                "info": {"title": "Kubernetes", "version": "v1.32.0"},
                "paths": {path: item for kind in kinds for path, item in _paths(kind).items()},
                "components": {"schemas": schemas},
            }
            body = msgspec.json.encode(document)
            found = self._documents[name] = (kinds, body, _digest(body))
        return found[1:]

    def _add(self, schemas: dict[str, Json], definition: Definition) -> None:
        name = _long(definition.name)
        if name in schemas:
            return
        described = self._descriptions.of(name)
        said = described.properties if described is not None else {}
        row: Json = {"type": "object", "description": described.description if described is not None else ABSENT}
        schemas[name] = row
        row["properties"] = {
            field.name: _property(field) | ({"description": said[field.name].description} if field.name in said else {})
            for field in definition.fields.values()
        }
        required = [field.name for field in definition.fields.values() if field.required]
        if required:
            row["required"] = required
        kinds = [
            {"group": group, "version": version, "kind": kind}
            for group, version, kind in self._schema.kinds_of(definition.name)
        ]
        if kinds:
            row["x-kubernetes-group-version-kind"] = kinds
        for field in definition.fields.values():
            if field.is_definition:
                self._add(schemas, self._schema[field.type])
            elif field.type in _NAMED:
                schemas[_NAMED[field.type]] = _SCALARS[field.type]


def _same(before: list[Kind], now: list[Kind]) -> bool:
    """Whether the rows are the very same; the definition of a custom kind may have changed."""
    return len(before) == len(now) and all(one is other for one, other in zip(before, now, strict=True))


def _custom_name(kind: Kind) -> str:
    """`io.kubeedge.devices.v1beta1.Device`."""
    return ".".join((*reversed(kind.group.split(".")), kind.version, kind.kind))


def _custom(kind: Kind, schema: Mapping[str, Any]) -> Json:
    """The schema of a custom kind as its author wrote it, with what every object has."""
    metadata = {"allOf": [{"$ref": f"#/components/schemas/{_long('meta.v1.ObjectMeta')}"}], "default": {}}
    properties = {
        "apiVersion": {"type": "string", "description": "The group and version of this representation."},
        "kind": {"type": "string", "description": "The kind of the object."},
        **schema.get("properties", {}),
        "metadata": {**metadata, "description": "Standard object's metadata."},
    }
    named = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    return {**schema, "properties": properties, "x-kubernetes-group-version-kind": [named]}


_FAR = "Fri, 31 Dec 2060 23:59:59 GMT"


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:32].upper()


def _unless_known(request: Request, body: bytes, headers: Json) -> Answer:
    if request.headers.get("If-None-Match", "") == headers["ETag"]:
        return Answer(b"", 304, headers=headers)
    return Answer(body, headers=headers)


def _long(name: str) -> str:
    """`core.v1.Pod` → `io.k8s.api.core.v1.Pod`."""
    prefixes = {"meta": "io.k8s.apimachinery.pkg.apis."}
    return prefixes.get(name.split(".")[0], "io.k8s.api.") + name


def _property(field: Field) -> Json:
    if field.is_definition:
        inner: Json = {"$ref": f"#/components/schemas/{_long(field.type)}"}
        # A reference may have no neighbours in OpenAPI 3.0: allOf carries the default.
        inner = {"allOf": [inner], "default": {}}
    elif field.type in _NAMED:
        inner = {"allOf": [{"$ref": f"#/components/schemas/{_NAMED[field.type]}"}]}
    else:
        inner = dict(_SCALARS[field.type])
    for container in reversed([field.shape[at : at + 2] for at in range(0, len(field.shape), 2)]):
        key = "items" if container == "[]" else "additionalProperties"
        inner = {"type": "array" if container == "[]" else "object", key: inner}
    if field.enum:
        inner["enum"] = list(field.enum)
    if field.default is not None:
        inner["default"] = field.default
    return inner | _merge_facts(field)


def _merge_facts(field: Field) -> Json:
    facts: Json = {}
    if field.strategy:
        facts["x-kubernetes-patch-strategy"] = ",".join(field.strategy)
    if field.merge_key:
        facts["x-kubernetes-patch-merge-key"] = field.merge_key
    if field.list_type:
        facts["x-kubernetes-list-type"] = field.list_type
    if field.map_keys:
        facts["x-kubernetes-list-map-keys"] = list(field.map_keys)
    return facts


def _paths(kind: Kind) -> dict[str, Json]:
    collection = f"{kind.root}/{'namespaces/{namespace}/' if kind.namespaced else ''}{kind.plural}"
    paths = {collection: _operations(kind, ("create",), "list" in kind.verbs)}
    if kind.stored:
        paths[f"{collection}/{{name}}"] = _operations(kind, ("get", "update", "patch", "delete"), listed=False)
    return paths


def _operations(kind: Kind, verbs: tuple[str, ...], listed: bool) -> Json:
    named = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    item: Json = {}
    for verb in verbs:
        if verb in kind.verbs:
            item[_VERBS[verb]] = {
                "operationId": f"{verb}{kind.version}{kind.kind}",
                "parameters": _PARAMETERS if verb in ("create", "update", "patch") else [],
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-action": verb if verb != "create" else "post",
                "x-kubernetes-group-version-kind": named,
            }
    if "patch" in item:
        types = [JSON_PATCH, MERGE, *([STRATEGIC] if kind.strategic else []), APPLY]
        item["patch"]["requestBody"] = {"content": {name: {"schema": {"type": "object"}} for name in types}}
    if listed:
        item["get"] = {
            "operationId": f"list{kind.version}{kind.kind}",
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "list",
            "x-kubernetes-group-version-kind": named,
        }
    return item


_PARAMETERS = [
    {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
    for name in ("dryRun", "fieldManager", "fieldValidation")
]
