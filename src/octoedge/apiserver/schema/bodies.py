"""From the bytes of a request to an object of a kind: JSON, YAML or protobuf, then checked against the schema.

What fieldValidation asks for is done here: unknown fields are refused (Strict), returned as warnings (Warn) or left out
in silence (Ignore).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import yaml

from octoedge.apiserver.kinds import Kind
from octoedge.apiserver.schema.decoding import Decoder, WrongType
from octoedge.apiserver.schema.protobuf import MAGIC, MEDIA_TYPE, ProtobufReader
from octoedge.apiserver.schema.schema import Definition, Schema
from octoedge.apiserver.schema.shape import BuiltInShape, Shape
from octoedge.errors import ApiError, bad_request

Json = dict[str, Any]

_YAML = ("application/yaml", "application/apply-patch+yaml")
_JSON = ("", "application/json", "*/*", "application/octet-stream", "text/plain")
MAX_DEPTH = 128
"""Levels of nesting that a body may have; whatever follows (patches, schemas) descends by calling itself."""
MAX_YAML = 256 * 1024
"""Bytes of YAML: reading it takes many times as long as JSON, and everybody waits meanwhile. Clients send JSON."""
_YAML_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Findings:
    """Warnings that go back to the client in headers."""

    warnings: list[str] = field(default_factory=list)


class Bodies:
    """Reads request bodies."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._protobuf = ProtobufReader(schema)

    def decode(self, body: bytes, media_type: str) -> Any:
        """The JSON value in the body. A missing Content-Type is taken for JSON."""
        kind = media_type.partition(";")[0].strip().lower()
        if kind == MEDIA_TYPE or body.startswith(MAGIC):
            return self._protobuf.read(body)
        if kind in _YAML and not body.lstrip().startswith((b"{", b"[")):
            return decode_yaml(body)
        if kind in _JSON or kind in _YAML or kind.endswith("+json"):
            value = decode_json(body)
            if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
                check_depth(value)
            return value
        raise unknown_format(_ACCEPTED)

    def object(self, kind: Kind, body: bytes, media_type: str, query: Mapping[str, str], found: Findings) -> Json:
        """The object of `kind` in the body, checked."""
        value = self.decode(body, media_type)
        expect_object(value)
        check_kind(value, kind.api_version, kind.kind)
        return self.checked(kind, value, query, found)

    def checked(self, kind: Kind, value: Json, query: Mapping[str, str], found: Findings) -> Json:
        """A decoded object of `kind`, with the right types and without unknown fields."""
        result, unknown = self.decoded(kind, value)
        head = _head(kind)
        judge_unknown(unknown, query, found, lambda text: bad_request(f"{head}strict decoding error: {text}"))
        return {"kind": kind.kind, "apiVersion": kind.api_version, **result}

    def decoded(self, kind: Kind, value: Json) -> tuple[Json, list[str]]:
        """A decoded object of `kind` with the right types, and its unknown fields."""
        try:
            return self.shape(kind).decode(value)
        except WrongType as error:
            raise bad_request(f"{_head(kind)}{error}") from error

    def shape(self, kind: Kind) -> Shape:
        """The form of a kind's objects."""
        if kind.custom is not None:
            return kind.custom.shape
        definition = self.schema.of_kind(kind.group, kind.version, kind.kind)
        return BuiltInShape(self.schema, definition, ("spec", "status") if kind.strategic else ())

    def typed(self, group: str, version: str, name: str, value: Any) -> Json:
        """A decoded value as an object of a definition that is not a stored kind (options, reviews)."""
        expect_object(value)
        head = f'{name} in version "{version}" cannot be handled as a {name}: '
        definition = self.schema.find(group, version, name) or self.schema.of_kind("", "v1", name)
        return decode_object(self.schema, definition, value, head)[0]


def _head(kind: Kind) -> str:
    return f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '


_ACCEPTED = ("application/json", "application/yaml", MEDIA_TYPE)


def unknown_format(accepted: Iterable[str]) -> ApiError:
    """415: the body is none of the accepted media types."""
    text = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return ApiError(415, "UnsupportedMediaType", text)


def decode_json(body: bytes) -> Any:
    """The JSON value; a `bad_request` says where it is broken."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error


def decode_yaml(body: bytes) -> Any:
    """The YAML value, aliases refused: they let a small text describe a huge object."""
    if len(body) > MAX_YAML:
        raise ApiError(413, "RequestEntityTooLarge", f"YAML of more than {MAX_YAML} bytes is not read; send it as JSON")
    try:
        depth = 0
        for event in yaml.parse(body, Loader=_YAML_LOADER):
            if isinstance(event, yaml.AliasEvent):
                raise bad_request("YAML aliases are not allowed in requests")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise _too_deep()
        value = yaml.load(body, Loader=_YAML_LOADER)  # noqa: S506 - it is a safe loader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise bad_request(f"error converting YAML to JSON: {error}") from error
    return msgspec.to_builtins(value, str_keys=True)


def check_depth(value: Any) -> None:
    """`bad_request` when lists and objects are nested too deep; looks level by level, without calling itself."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for one in level for inner in _inside(one) if isinstance(inner, dict | list)]
        if not level:
            return
    raise _too_deep()


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _too_deep() -> ApiError:
    return bad_request(f"the body of the request is nested more than {MAX_DEPTH} levels deep")


def expect_object(value: Any) -> None:
    """`bad_request` unless the value is a JSON object."""
    if not isinstance(value, dict):
        raise bad_request("couldn't get version/kind; json parse error: the body is not a JSON object")


def check_kind(value: Json, api_version: str, kind: str) -> None:
    """`bad_request` when the object says it is of another kind than its path says."""
    said = (value.get("apiVersion") or api_version, value.get("kind") or kind)
    if said != (api_version, kind):
        where = f"this path holds {kind} in version {api_version!r}"
        raise bad_request(f"{said[1]} in version {said[0]!r} cannot be handled here: {where}")


def decode_object(schema: Schema, definition: Definition, value: Json, head: str) -> tuple[Json, list[str]]:
    """The object of a definition, and its unknown fields."""
    decoder = Decoder(schema)
    try:
        return decoder.decode(definition, value), decoder.unknown
    except WrongType as error:
        raise bad_request(f"{head}{error}") from error


def judge_unknown(
    unknown: list[str], query: Mapping[str, str], found: Findings, refuse: Callable[[str], ApiError]
) -> None:
    """Do with unknown fields what fieldValidation says; Warn when it says nothing."""
    mode = query.get("fieldValidation") or "Warn"
    if mode not in ("Strict", "Warn", "Ignore"):
        supported = 'supported values: "", "Ignore", "Strict", "Warn"'
        raise bad_request(f'fieldValidation: Unsupported value: "{mode}": {supported}')
    texts = [f'unknown field "{path}"' for path in unknown]
    if texts and mode == "Strict":
        raise refuse(", ".join(texts))
    if mode == "Warn":
        found.warnings += texts[:20]
