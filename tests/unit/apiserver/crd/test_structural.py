"""Schemas that are not structural, or hostile, are refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from octoedge.apiserver.crd.structural import MAX_CAUSES, Rule, SchemaReader

Json = dict[str, Any]


def causes(schema: Json) -> list[str]:
    reader = SchemaReader()
    reader.read(schema, "s")
    return [f"{path}: {text}" for _, path, text in reader.causes]


def field(**schema: Any) -> Json:
    return {"type": "object", "properties": {"x": schema}}


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ({}, "s.type: Required value: must not be empty at the root"),
        ({"type": "string"}, 's.type: Invalid value: "string": must be object at the root'),
        (field(), "s.properties[x].type: Required value: must not be empty for specified object fields"),
        (field(type="array"), "s.properties[x].items: Required value: must be specified"),
        (
            field(type="text"),
            's.properties[x].type: Unsupported value: "text": supported values: "array", "boolean", '
            '"integer", "number", "object", "string"',
        ),
        ({"type": "object", "$ref": "#/definitions/x"}, "s.$ref: Forbidden: $ref is not supported"),
        (
            field(type="array", items={"type": "string"}, uniqueItems=True),
            "s.properties[x].uniqueItems: Forbidden: "
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        (
            field(type="object", properties={"a": {"type": "string"}}, additionalProperties={"type": "string"}),
            "s.properties[x].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            field(type="string", anyOf=[{"type": "string", "minLength": 1}]),
            "s.properties[x].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            {"type": "object", "anyOf": [{"properties": {"a": {"minLength": 1}}}]},
            "s.properties[a]: Required value: because it is defined in s.anyOf[0].properties[a]",
        ),
        (
            field(type="string", pattern="(a"),
            's.properties[x].pattern: Invalid value: "(a": must be a valid regular expression, but isn\'t: '
            "error parsing "
            "regexp: missing closing ): `(a`",
        ),
        (
            {
                "type": "object",
                "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}},
            },
            "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, "
            "but metadata is "
            "implicitly specified",
        ),
        (
            field(
                **{
                    "type": "array",
                    "items": {"type": "string"},
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["a"],
                }
            ),
            's.properties[x].items.type: Invalid value: "string": must be object if parent array\'s '
            "x-kubernetes-list-type "
            "is map",
        ),
        (
            field(type="array", items=[{"type": "string"}]),
            "s.properties[x].items: Forbidden: items must be a schema object and not an array",
        ),
        (field(type="integer", multipleOf=0), "s.properties[x].multipleOf: Invalid value: 0: must be greater than 0"),
    ],
)
def test_what_is_not_structural(schema: Json, sentence: str) -> None:
    assert sentence in causes(schema)


def nested(depth: int, key: str) -> Json:
    schema: Json = {"type": "string"}
    for _ in range(depth):
        inner = {"type": "object", "properties": {"a": schema}} if key == "properties" else {"type": "array"}
        schema = inner if key == "properties" else {"type": "array", "items": schema}
    return {"type": "object", "properties": {"x": schema}}


@pytest.mark.parametrize("key", ["properties", "items"])
def test_depth_has_an_end(key: str) -> None:
    assert causes(nested(60, key)) == []
    (text,) = causes(nested(300, key))
    assert text.endswith("Forbidden: the schema is nested more than 64 levels deep")


def test_size_has_an_end() -> None:
    wide = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(100_001)}}
    (text,) = causes(wide)
    assert text.endswith("the schema has more than 100000 nodes")


def test_errors_have_an_end() -> None:
    assert len(causes({"type": "object", "properties": {f"p{n}": {} for n in range(1000)}})) == MAX_CAUSES


@pytest.mark.parametrize(
    "odd", [[], "x", 3, {"a": 3}, {"a": []}, {"a": {"type": 3, "properties": [], "required": "x"}}]
)
def test_odd_values_are_causes_not_crashes(odd: Any) -> None:
    assert causes({"type": "object", "properties": odd}) or odd == []


def test_rules_are_read_and_noticed_from_above() -> None:
    reader = SchemaReader()
    rule = {"rule": "self != ''", "message": "m", "reason": "FieldValueForbidden", "fieldPath": ".a"}
    root = reader.read(field(**{"type": "string", "x-kubernetes-validations": [rule]}), "s")
    assert (root.has_rules, root.rules) == (True, ())
    assert root.properties["x"].rules == (Rule(0, "self != ''", "m", "", "FieldValueForbidden", ".a"),)
    assert reader.causes == []


@pytest.mark.parametrize("odd", [3, [3], [{}], [{"rule": ""}], [{"rule": 3}], [{"rule": "true", "reason": "Because"}]])
def test_odd_rules_are_causes(odd: Any) -> None:
    assert causes(field(**{"type": "string", "x-kubernetes-validations": odd}))
