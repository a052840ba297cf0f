"""Validation: the sentences that kubectl users know, and no value that stops it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from octoedge.apiserver.crd.budget import Budget, TooCostly
from octoedge.apiserver.crd.structural import Structural
from octoedge.apiserver.crd.validation import validate
from octoedge.testing.schemas import Json, objects, read, schemas


@given(schemas, objects)
def test_every_value_gets_an_answer(schema: Structural, obj: Json) -> None:
    for reason, path, text in validate(schema, obj, Budget()):
        assert reason.startswith("FieldValue")
        assert path
        assert text


def told(schema: Json, value: Any) -> list[str]:
    root = read({"type": "object", "properties": {"x": schema}})
    return [f"{path}: {text}" for _, path, text in validate(root, {"x": value}, Budget())]


@pytest.mark.parametrize(
    ("schema", "value", "sentence"),
    [
        ({"type": "integer"}, "a", 'x: Invalid value: "string": x in body must be of type integer: "string"'),
        ({"type": "integer"}, True, 'x: Invalid value: "boolean": x in body must be of type integer: "boolean"'),
        ({"type": "integer"}, 1.5, 'x: Invalid value: "number": x in body must be of type integer: "number"'),
        ({"type": "string"}, None, 'x: Invalid value: "null": x in body must be of type string: "null"'),
        ({"type": "integer", "minimum": 1}, 0, "x: Invalid value: 0: x in body should be greater than or equal to 1"),
        ({"type": "integer", "maximum": 1}, 2, "x: Invalid value: 2: x in body should be less than or equal to 1"),
        (
            {"type": "number", "minimum": 1, "exclusiveMinimum": True},
            1,
            "x: Invalid value: 1: x in body should be greater than 1",
        ),
        ({"type": "integer", "multipleOf": 3}, 4, "x: Invalid value: 4: x in body should be a multiple of 3"),
        ({"type": "string", "minLength": 2}, "a", 'x: Invalid value: "a": x in body should be at least 2 chars long'),
        ({"type": "string", "maxLength": 1}, "ab", "x: Too long: may not be more than 1 bytes"),
        ({"type": "string", "pattern": "^a+$"}, "b", "x: Invalid value: \"b\": x in body should match '^a+$'"),
        ({"type": "string", "enum": ["a", "b"]}, "c", 'x: Unsupported value: "c": supported values: "a", "b"'),
        (
            {"type": "string", "format": "date-time"},
            "n",
            'x: Invalid value: "n": x in body must be of type date-time: "n"',
        ),
        (
            {"type": "integer", "format": "int32"},
            1 << 40,
            f"x: Invalid value: {1 << 40}: x in body must be of type int32: {1 << 40}",
        ),
        ({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}, {}, "x.a: Required value"),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            [],
            "x: Invalid value: []: x in body should have at least 1 items",
        ),
        (
            {"type": "array", "items": {"type": "string"}, "maxItems": 1},
            ["a", "b"],
            "x: Too many: 2: must have at most 1 items",
        ),
        (
            {"type": "array", "items": {"type": "integer"}},
            [1, "a"],
            'x[1]: Invalid value: "string": x[1] in body must be of type integer: "string"',
        ),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            {"k": 1},
            'x.k: Invalid value: "integer": x.k in body must be of type string: "integer"',
        ),
        (
            {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            ["a", "a"],
            'x[1]: Duplicate value: "a"',
        ),
        (
            {"x-kubernetes-int-or-string": True},
            [],
            'x: Invalid value: "array": x in body must be of type integer,string: "array"',
        ),
        (
            {"type": "string", "not": {"enum": ["a"]}},
            "a",
            'x: Invalid value: "a": x in body must not validate the schema (not)',
        ),
        (
            {"type": "integer", "anyOf": [{"minimum": 5}, {"maximum": 1}]},
            3,
            "x: Invalid value: 3: x in body must validate at least one schema (anyOf)",
        ),
        (
            {"type": "integer", "oneOf": [{"minimum": 1}, {"minimum": 2}]},
            3,
            "x: Invalid value: 3: x in body must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ),
    ],
)
def test_sentences(schema: Json, value: Any, sentence: str) -> None:
    assert told(schema, value) == [sentence]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 3.0),
        ({"type": "number"}, 3),
        ({"type": "string", "nullable": True}, None),
        ({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}, "80%"),
        ({"type": "string", "format": "date-time"}, "2026-01-31T08:15:00.123Z"),
        ({"type": "string", "format": "duration"}, "1h30m"),
        ({"type": "string", "format": "cidr"}, "10.0.0.0/8"),
        ({"type": "string", "format": "unheard-of"}, "anything"),
        ({"type": "number", "multipleOf": 0.1}, 0.3),
        ({"type": "boolean", "enum": [True]}, True),
    ],
)
def test_what_is_right_is_let_through(schema: Json, value: Any) -> None:
    assert told(schema, value) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uuid", "x"),
        ("ipv4", "1.2.3.256"),
        ("ipv6", "::g"),
        ("mac", "aa:bb"),
        ("email", "@"),
        ("hostname", "-a"),
        ("byte", "%%"),
        ("date", "2026-13-01"),
        ("date-time", "2026-02-30T00:00:00Z"),
        ("uri", "no uri"),
        ("hexcolor", "#12"),
        ("cidr", "10.0.0.0"),
        ("duration", "1 month"),
    ],
)
def test_formats(name: str, text: str) -> None:
    assert len(told({"type": "string", "format": name}, text)) == 1


def test_embedded_resources_say_what_they_are() -> None:
    schema = {
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "x-kubernetes-preserve-unknown-fields": True,
    }
    assert told(schema, {"spec": {}}) == [
        "x.apiVersion: Required value: must not be empty",
        "x.kind: Required value: must not be empty",
    ]
    assert told(schema, {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {}}) == []


def test_an_object_that_costs_too_much_is_given_up() -> None:
    tests = [{"pattern": f"(.{{0,90}}{n})+$"} for n in range(10)]
    root = read({"type": "object", "properties": {"x": {"type": "array", "items": {"type": "string", "anyOf": tests}}}})
    with pytest.raises(TooCostly):
        validate(root, {"x": ["a" * 5000] * 500}, Budget(100_000))


def test_the_causes_of_one_answer_are_counted() -> None:
    root = read({"type": "object", "properties": {"x": {"type": "array", "items": {"type": "integer"}}}})
    assert len(validate(root, {"x": ["a"] * 5000}, Budget())) == 30
