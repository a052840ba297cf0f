"""Structural schemas: what `openAPIV3Schema` says, read once into typed objects that validation and pruning walk.

The reader also judges: what makes a schema not structural, or hostile (too deep, too large), becomes a cause for a 422,
in the words that Kubernetes has for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from octoedge.apiserver.crd.pattern_syntax import PatternError
from octoedge.apiserver.crd.patterns import Pattern
from octoedge.apiserver.writing.metadata import Cause, forbidden_field, required, wrong

Json = dict[str, Any]

MAX_DEPTH = 64
MAX_NODES = 100_000
MAX_CAUSES = 50
TYPES = ("array", "boolean", "integer", "number", "object", "string")
_TIMES = ("date", "date-time", "datetime", "duration")
REASONS = ("FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate")
"""What a rule may give as the reason of its failure."""


class _Missing:
    """No default; null is one."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a value must keep to besides its type."""

    required: tuple[str, ...] = ()
    enum: tuple[Any, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    above_minimum: bool = False
    below_maximum: bool = False
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    min_properties: int | None = None
    max_properties: int | None = None
    pattern: Pattern | None = None
    format: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One of `x-kubernetes-validations`; `index` is its place in that list."""

    index: int
    text: str
    message: str = ""
    message_expression: str = ""
    reason: str = "FieldValueInvalid"
    field_path: str = ""
    optional_old: bool = False


@dataclass(frozen=True, slots=True)
class Structural:
    """One node of a structural schema; inside allOf, anyOf, oneOf and not it has no type and only says what holds."""

    type: str = ""
    properties: Mapping[str, Structural] = field(default_factory=dict)
    additional: Structural | None = None
    """The schema of the values of a map."""
    open: bool = False
    """Whether any further field is allowed (`additionalProperties: true`)."""
    items: Structural | None = None
    nullable: bool = False
    preserve: bool = False
    embedded: bool = False
    int_or_string: bool = False
    list_type: str = ""
    map_keys: tuple[str, ...] = ()
    atomic: bool = False
    default: Any = MISSING
    limits: Limits = Limits()
    all_of: tuple[Structural, ...] = ()
    any_of: tuple[Structural, ...] = ()
    one_of: tuple[Structural, ...] = ()
    negated: Structural | None = None
    rules: tuple[Rule, ...] = ()
    has_rules: bool = False
    """Whether there are rules here or below; not inside allOf, anyOf, oneOf and not, which nobody evaluates."""
    has_times: bool = False
    """Whether there are times or durations here or below."""


class _Hopeless(Exception):
    """Reading on makes no sense."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause = cause


class SchemaReader:
    """Reads one schema; afterwards `causes` says what is wrong with it."""

    def __init__(self) -> None:
        self.causes: list[Cause] = []
        self._nodes = 0

    def read(self, schema: Json, path: str) -> Structural:
        """The schema of a kind."""
        root = Structural("object")
        try:
            root = self._node(schema, path, 0, "root")
        except _Hopeless as stop:
            self.causes[MAX_CAUSES - 1 :] = [stop.cause]
        if root.type and root.type != "object":
            self.causes.append(wrong(f"{path}.type", root.type, "must be object at the root"))
        self._check_metadata(root, f"{path}.properties[metadata]")
        del self.causes[MAX_CAUSES:]
        return root

    def _node(self, schema: Json, path: str, depth: int, role: str) -> Structural:
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise _Hopeless(forbidden_field(_short(path), f"the schema is nested more than {MAX_DEPTH} levels deep"))
        if self._nodes > MAX_NODES:
            raise _Hopeless(forbidden_field(_short(path), f"the schema has more than {MAX_NODES} nodes"))
        if len(self.causes) > MAX_CAUSES:
            raise _Hopeless(forbidden_field(_short(path), "the schema has too many errors, the rest was not looked at"))
        node = self._typed(schema, path, depth, role)
        self._check_keywords(schema, path)
        if role == "nested":
            self._check_nested(schema, path)
        else:
            self._check_core(node, schema, path, role)
        return node

    def _typed(self, schema: Json, path: str, depth: int, role: str) -> Structural:
        inner = "nested" if role == "nested" else "field"
        properties = {
            name: self._node(_object(one), f"{path}.properties[{name}]", depth + 1, inner)
            for name, one in self._of(schema, "properties", dict, path).items()
        }
        additional = schema.get("additionalProperties")
        items = schema.get("items")
        if items is not None and not isinstance(items, dict):
            self.causes.append(forbidden_field(f"{path}.items", "items must be a schema object and not an array"))
        negated = self._of(schema, "not", dict, path)
        rules = self._rules(schema, path)
        node = Structural(
            type=self._of(schema, "type", str, path),
            properties=properties,
            additional=self._node(additional, f"{path}.additionalProperties", depth + 1, inner)
            if isinstance(additional, dict)
            else None,
            open=additional is True,
            items=self._node(items, f"{path}.items", depth + 1, "nested" if role == "nested" else "items")
            if isinstance(items, dict)
            else None,
            nullable=self._of(schema, "nullable", bool, path),
            preserve=self._of(schema, "x-kubernetes-preserve-unknown-fields", bool, path),
            embedded=self._of(schema, "x-kubernetes-embedded-resource", bool, path),
            int_or_string=self._of(schema, "x-kubernetes-int-or-string", bool, path),
            list_type=self._of(schema, "x-kubernetes-list-type", str, path),
            map_keys=self._texts(schema, "x-kubernetes-list-map-keys", path),
            atomic=self._of(schema, "x-kubernetes-map-type", str, path) == "atomic",
            default=schema.get("default", MISSING),
            limits=self._limits(schema, path),
            all_of=self._nested(schema, "allOf", path, depth),
            any_of=self._nested(schema, "anyOf", path, depth),
            one_of=self._nested(schema, "oneOf", path, depth),
            negated=self._node(negated, f"{path}.not", depth + 1, "nested") if "not" in schema else None,
            rules=rules,
        )
        below = [*node.properties.values(), *(one for one in (node.items, node.additional) if one is not None)]
        return replace(
            node,
            has_rules=bool(rules) or any(one.has_rules for one in below),
            has_times=node.limits.format in _TIMES or any(one.has_times for one in below),
        )

    def _rules(self, schema: Json, path: str) -> tuple[Rule, ...]:
        rules = []
        for index, said in enumerate(self._of(schema, "x-kubernetes-validations", list, path)):
            where, row = f"{path}.x-kubernetes-validations[{index}]", _object(said)
            reason = self._of(row, "reason", str, where) or "FieldValueInvalid"
            if reason not in REASONS:
                shown = ", ".join(f'"{name}"' for name in REASONS)
                text = f'Unsupported value: "{reason[:50]}": supported values: {shown}'
                self.causes.append(("FieldValueNotSupported", f"{where}.reason", text))
            rule = Rule(
                index,
                self._of(row, "rule", str, where),
                self._of(row, "message", str, where),
                self._of(row, "messageExpression", str, where),
                reason,
                self._of(row, "fieldPath", str, where),
                self._of(row, "optionalOldSelf", bool, where),
            )
            if not rule.text.strip():
                self.causes.append(required(f"{where}.rule", "rule is not specified"))
            rules.append(rule)
        return tuple(rules)

    def _nested(self, schema: Json, name: str, path: str, depth: int) -> tuple[Structural, ...]:
        parts = self._of(schema, name, list, path)
        return tuple(
            self._node(_object(one), f"{path}.{name}[{index}]", depth + 1, "nested") for index, one in enumerate(parts)
        )

    def _limits(self, schema: Json, path: str) -> Limits:
        enum = schema.get("enum")
        return Limits(
            required=self._texts(schema, "required", path),
            enum=tuple(enum) if isinstance(enum, list) else None,
            minimum=self._number(schema, "minimum", path),
            maximum=self._number(schema, "maximum", path),
            above_minimum=self._of(schema, "exclusiveMinimum", bool, path),
            below_maximum=self._of(schema, "exclusiveMaximum", bool, path),
            multiple_of=self._number(schema, "multipleOf", path),
            min_length=self._whole(schema, "minLength", path),
            max_length=self._whole(schema, "maxLength", path),
            min_items=self._whole(schema, "minItems", path),
            max_items=self._whole(schema, "maxItems", path),
            min_properties=self._whole(schema, "minProperties", path),
            max_properties=self._whole(schema, "maxProperties", path),
            pattern=self._pattern(schema, path),
            format=self._of(schema, "format", str, path),
        )

    def _pattern(self, schema: Json, path: str) -> Pattern | None:
        text = self._of(schema, "pattern", str, path)
        try:
            return Pattern(text) if text else None
        except PatternError as error:
            why = f"must be a valid regular expression, but isn't: error parsing regexp: {error}"
            self.causes.append(wrong(f"{path}.pattern", text[:200], why))
            return None

    def _of(self, schema: Json, name: str, kind: type, path: str) -> Any:
        """The value of a keyword; the type's empty value when it is missing or of another type."""
        value = schema.get(name)
        if value is None:
            return kind()
        if not isinstance(value, kind):
            self.causes.append(wrong(f"{path}.{name}", str(value)[:50], f"must be of type {_WORDS[kind]}"))
            return kind()
        return value

    def _texts(self, schema: Json, name: str, path: str) -> tuple[str, ...]:
        return tuple(text for text in self._of(schema, name, list, path) if isinstance(text, str))

    def _number(self, schema: Json, name: str, path: str) -> float | None:
        value = schema.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.causes.append(wrong(f"{path}.{name}", str(value)[:50], "must be of type number"))
            return None
        if name == "multipleOf" and value <= 0:
            self.causes.append(wrong(f"{path}.{name}", value, "must be greater than 0"))
            return None
        return value

    def _whole(self, schema: Json, name: str, path: str) -> int | None:
        value = self._number(schema, name, path)
        return None if value is None else int(value)

    def _check_keywords(self, schema: Json, path: str) -> None:
        for name, text in _FORBIDDEN.items():
            if schema.get(name):
                self.causes.append(forbidden_field(f"{path}.{name}", text))
        if schema.get("properties") and schema.get("additionalProperties") not in (None, False):
            text = "additionalProperties and properties are mutual exclusive"
            self.causes.append(forbidden_field(f"{path}.additionalProperties", text))
        if schema.get("additionalProperties") is False:
            text = "additionalProperties cannot be set to false"
            self.causes.append(forbidden_field(f"{path}.additionalProperties", text))
        kind = schema.get("type")
        if isinstance(kind, str) and kind and kind not in TYPES:
            shown = ", ".join(f'"{name}"' for name in TYPES)
            text = f'Unsupported value: "{kind}": supported values: {shown}'
            self.causes.append(("FieldValueNotSupported", f"{path}.type", text))

    def _check_nested(self, schema: Json, path: str) -> None:
        """Inside allOf, anyOf, oneOf and not nothing may say what the structure is."""
        for name in _NOT_NESTED:
            of_int_or_string = name == "type" and schema.get(name) in ("integer", "string") and len(schema) == 1
            if schema.get(name) not in (None, False, "") and not of_int_or_string:
                self.causes.append(forbidden_field(f"{path}.{name}", "must be empty to be structural"))

    def _check_core(self, node: Structural, schema: Json, path: str, role: str) -> None:
        self._check_type(node, path, role)
        if node.embedded and node.type != "object":
            text = "must be object if x-kubernetes-embedded-resource is true"
            self.causes.append(wrong(f"{path}.type", node.type, text))
        if node.preserve and node.type not in ("", "object", "array"):
            text = "must be object if x-kubernetes-preserve-unknown-fields is true"
            self.causes.append(wrong(f"{path}.type", node.type, text))
        if node.embedded and not (node.preserve or node.properties):
            text = "must not be empty if x-kubernetes-embedded-resource is true without"
            self.causes.append(required(f"{path}.properties", f"{text} x-kubernetes-preserve-unknown-fields"))
        if node.type == "array" and not isinstance(schema.get("items"), dict):
            self.causes.append(required(f"{path}.items", "must be specified"))
        self._check_list(node, path)
        for name in ("allOf", "anyOf", "oneOf"):
            for index, nested in enumerate({"allOf": node.all_of, "anyOf": node.any_of, "oneOf": node.one_of}[name]):
                self._check_covered(node, nested, path, f"{path}.{name}[{index}]")
        if node.negated is not None:
            self._check_covered(node, node.negated, path, f"{path}.not")

    def _check_type(self, node: Structural, path: str, role: str) -> None:
        if node.int_or_string:
            if node.type:
                text = "must be empty if x-kubernetes-int-or-string is true"
                self.causes.append(wrong(f"{path}.type", node.type, text))
        elif not node.type and (role == "root" or not node.preserve):
            where = {"root": "at the root", "items": "for specified array items"}.get(
                role, "for specified object fields"
            )
            self.causes.append(required(f"{path}.type", f"must not be empty {where}"))

    def _check_covered(self, core: Structural, nested: Structural, path: str, said: str) -> None:
        """What a nested schema speaks of must be part of the structure."""
        for name, inner in nested.properties.items():
            here, there = f"{path}.properties[{name}]", f"{said}.properties[{name}]"
            if name in core.properties:
                self._check_covered(core.properties[name], inner, here, there)
            else:
                self.causes.append(required(here, f"because it is defined in {there}"))
        if nested.items is not None:
            if core.items is None:
                self.causes.append(required(f"{path}.items", f"because it is defined in {said}.items"))
            else:
                self._check_covered(core.items, nested.items, f"{path}.items", f"{said}.items")

    def _check_list(self, node: Structural, path: str) -> None:
        if not node.list_type:
            return
        where = f"{path}.x-kubernetes-list-type"
        if node.list_type not in ("atomic", "map", "set"):
            shown = f'Unsupported value: "{node.list_type}": supported values: "atomic", "map", "set"'
            self.causes.append(("FieldValueNotSupported", where, shown))
        if node.type != "array":
            self.causes.append(wrong(f"{path}.type", node.type, "must be array if x-kubernetes-list-type is specified"))
        if node.list_type != "map":
            return
        keys = f"{path}.x-kubernetes-list-map-keys"
        if not node.map_keys:
            self.causes.append(required(keys, "must not be empty if x-kubernetes-list-type is map"))
        if node.items is None or node.items.type != "object":
            text = "must be object if parent array's x-kubernetes-list-type is map"
            self.causes.append(wrong(f"{path}.items.type", node.items.type if node.items else "", text))
            return
        for index, key in enumerate(node.map_keys):
            found = node.items.properties.get(key)
            if found is None:
                text = "entries must all be names of item properties"
                self.causes.append(wrong(f"{keys}[{index}]", key, text))
            elif key not in node.items.limits.required and found.default is MISSING:
                text = "a property in x-kubernetes-list-map-keys must have a default or be required"
                self.causes.append(required(f"{path}.items.properties[{key}].default", text))

    def _check_metadata(self, root: Structural, path: str) -> None:
        about = root.properties.get("metadata")
        if about is None:
            return
        if about.type != "object":
            self.causes.append(wrong(f"{path}.type", about.type, "must be object"))
        if about.properties.keys() - {"name", "generateName"}:
            text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            self.causes.append(forbidden_field(path, text))


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _short(path: str) -> str:
    return path if len(path) <= 200 else f"{path[:200]}…"


_WORDS: dict[type, str] = {str: "string", bool: "boolean", list: "array", dict: "object"}
_FORBIDDEN = {
    "$ref": "$ref is not supported",
    "$schema": "$schema is not supported",
    "id": "id is not supported",
    "definitions": "definitions is not supported",
    "dependencies": "dependencies is not supported",
    "patternProperties": "patternProperties is not supported",
    "additionalItems": "additionalItems is not supported",
    "uniqueItems": "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
}
_NOT_NESTED = (
    "additionalProperties",
    "default",
    "nullable",
    "type",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-preserve-unknown-fields",
)
