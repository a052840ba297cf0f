"""Rules in CEL: what they see, when they are evaluated, what is said, and what is not done at any cost."""

from __future__ import annotations

import time
from typing import Any

import pytest

pytest.importorskip("cel_expr_python")

from octoedge.apiserver.crd import invariants
from octoedge.apiserver.crd.budget import Budget
from octoedge.apiserver.crd.structural import SchemaReader, Structural

Json = dict[str, Any]
MISSING: Json = {"nothing": True}


def read(spec: Json, *rules: Json | str, **more: Any) -> Structural:
    """A kind whose spec has these properties and rules."""
    rows = [{"rule": one} if isinstance(one, str) else one for one in rules]
    schema = {"type": "object", "properties": spec, "x-kubernetes-validations": rows, **more}
    reader = SchemaReader()
    root = reader.read({"type": "object", "properties": {"spec": schema}}, "s")
    assert reader.causes == []
    return root


def said(root: Structural, spec: Any, old: Any = MISSING) -> list[str]:
    before = None if old is MISSING else {"spec": old}
    return [f"{field}: {text}" for _, field, text in invariants.check(root, {"spec": spec}, before, Budget())]


WHOLE, TEXT, NUMBER = {"type": "integer"}, {"type": "string"}, {"type": "number"}
RANGE = {"min": WHOLE, "max": WHOLE}


def test_a_rule_that_does_not_hold_is_said() -> None:
    root = read(RANGE, "self.min <= self.max")
    assert said(root, {"min": 1, "max": 2}) == []
    assert said(root, {"min": 3, "max": 2}) == ['spec: Invalid value: "object": failed rule: self.min <= self.max']


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"message": "min is above max"}, 'spec: Invalid value: "object": min is above max'),
        ({"reason": "FieldValueForbidden", "message": "no"}, "spec: Forbidden: no"),
        ({"reason": "FieldValueRequired", "message": "no"}, "spec: Required value: no"),
        ({"reason": "FieldValueDuplicate", "message": "no"}, 'spec: Duplicate value: "object": no'),
        ({"fieldPath": ".min", "message": "no"}, 'spec.min: Invalid value: "object": no'),
        ({"messageExpression": "'not ' + string(self.min)", "message": "no"}, 'spec: Invalid value: "object": not 3'),
        ({"messageExpression": "self.none", "message": "no"}, 'spec: Invalid value: "object": no'),
    ],
)
def test_what_is_said(row: Json, text: str) -> None:
    root = read(RANGE, {"rule": "self.min <= self.max", **row})
    assert said(root, {"min": 3, "max": 2}) == [text]


def test_a_missing_field_is_an_error_unless_it_is_asked_for() -> None:
    (text,) = said(read(RANGE, "self.min <= self.max"), {"min": 1})
    assert text.endswith("rule evaluation error: no such key: max evaluating rule: self.min <= self.max")
    assert said(read(RANGE, "!has(self.max) || self.min <= self.max"), {"min": 1}) == []
    assert said(read(RANGE, "self.?max.orValue(9) > self.min"), {"min": 1}) == []


def test_rules_about_the_past_are_for_updates() -> None:
    root = read({"name": {**TEXT, "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "it is fixed"}]}})
    assert said(root, {"name": "a"}) == []
    assert said(root, {"name": "a"}, {}) == []
    assert said(root, {"name": "a"}, {"name": "a"}) == []
    assert said(root, {"name": "b"}, {"name": "a"}) == ['spec.name: Invalid value: "string": it is fixed']


def test_items_are_known_again_by_their_keys_only() -> None:
    rule = [{"rule": "self.n >= oldSelf.n", "message": "it may not shrink"}]
    item = {"type": "object", "properties": {"name": TEXT, "n": WHOLE}, "x-kubernetes-validations": rule}
    item |= {"required": ["name"]}
    keyed = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    before, after = [{"name": "a", "n": 2}, {"name": "b", "n": 5}], [{"name": "b", "n": 4}, {"name": "a", "n": 2}]
    assert said(read({"l": {"type": "array", "items": item, **keyed}}), {"l": after}, {"l": before}) == [
        'spec.l[0]: Invalid value: "object": it may not shrink'
    ]
    assert said(read({"l": {"type": "array", "items": item}}), {"l": after}, {"l": before}) == []


@pytest.mark.parametrize(
    ("properties", "rule", "spec"),
    [
        ({"a-b": TEXT, "c.d": TEXT, "in": TEXT}, "self.a__dash__b + self.c__dot__d + self.__in__ == 'xyz'",
         {"a-b": "x", "c.d": "y", "in": "z"}),
        ({"n": NUMBER}, "self.n / 2.0 == 0.5", {"n": 1}),
        ({"n": WHOLE}, "self.n / 2 == 1", {"n": 3.0}),
        ({"m": {"type": "object", "additionalProperties": WHOLE}}, "self.m.all(k, self.m[k] > 0)", {"m": {"a-b": 1}}),
        ({"l": {"type": "array", "items": WHOLE}}, "self.l.isSorted() && self.l.sum() == 6 && self.l.max() == 3",
         {"l": [1, 2, 3]}),
        ({"t": TEXT}, "self.t.matches('^[a-z]+$') && self.t.upperAscii() == 'AB' && isQuantity('1Gi')", {"t": "ab"}),
        ({"i": {"x-kubernetes-int-or-string": True}}, "type(self.i) == int ? self.i > 0 : self.i.endsWith('%')",
         {"i": "5%"}),
        ({"o": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}, "!has(self.o.hidden)",
         {"o": {"hidden": 1}}),
    ],
)  # fmt: skip
def test_what_rules_see(properties: Json, rule: str, spec: Json) -> None:
    root = read(properties, rule)
    assert invariants.unsupported(root) == []
    assert said(root, spec) == []


def test_names_are_seen_at_the_root() -> None:
    rule = [{"rule": "self.metadata.name.startsWith('x') && self.kind == 'K' && !has(self.metadata.labels)"}]
    root = SchemaReader().read({"type": "object", "x-kubernetes-validations": rule}, "")
    obj = {"kind": "K", "apiVersion": "v", "metadata": {"name": "xy", "labels": {"a": "b"}}}
    assert list(invariants.check(root, obj, None, Budget())) == []


@pytest.mark.parametrize(
    ("rule", "properties", "why"),
    [
        ("url(self.t).getHost() == 'a'", {"t": TEXT}, "url is not supported"),
        ("self.l.indexOf(2) == 7", {"l": {"type": "array", "items": WHOLE}}, "indexOf is not supported"),
        ("self.t < timestamp('2026-01-01T00:00:00Z')", {"t": {"type": "string", "format": "date-time"}}, "times"),
        ({"rule": "oldSelf.hasValue()", "optionalOldSelf": True}, {}, "optionalOldSelf"),
    ],
)
def test_what_is_not_evaluated_is_told_and_stops_nobody(rule: Any, properties: Json, why: str) -> None:
    root = read(properties, rule)
    (told,) = invariants.unsupported(root)
    assert why in told
    assert said(root, {"t": "2027-01-01T00:00:00Z"}, {}) == []


@pytest.mark.parametrize("word", ["allOf", "anyOf", "oneOf", "not"])
def test_rules_inside_other_words_are_told_and_not_evaluated(word: str) -> None:
    deep = {"properties": {"n": {"x-kubernetes-validations": [{"rule": "self > 5"}]}}}
    root = read({"n": WHOLE}, **{word: deep if word == "not" else [deep]})
    (told,) = invariants.unsupported(root)
    assert told == f"x-kubernetes-validations at spec.n: not evaluated: rules inside {word} are not supported"
    assert list(invariants.check(root, {"spec": {"n": 1}}, None, Budget())) == []


@pytest.mark.parametrize("rule", ["self.a ==", "1 + 'a' == 2", "(" * 300 + "1" + ")" * 300 + " == 1", "a" * 5000])
def test_a_rule_that_is_no_expression_is_refused_with_the_definition(rule: str) -> None:
    causes = list(invariants.check_rules(read({}, rule), "schema", Budget()))
    assert "a" * 200 in rule or rule == "1 + 'a' == 2" or len(causes) == 1
    for _, field, text in causes:
        assert field == "schema.properties[spec].x-kubernetes-validations[0].rule"
        assert "compilation failed" in text


@pytest.mark.parametrize(
    "rule",
    [
        "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0)))",
        "self.l.map(a, self.l.map(b, self.l.map(c, self.l))).size() >= 0",
        "self.t.matches('(a|a|aa)*b') || true",
    ],
)
def test_no_rule_and_no_object_holds_up_the_server(rule: str) -> None:
    listed = {"type": "array", "items": WHOLE}
    root = read({"l": listed, "t": TEXT, "many": {"type": "array", "items": {
        "type": "object", "properties": {"l": listed}, "x-kubernetes-validations": [{"rule": "self.l.all(a, a > 0)"}],
    }}}, rule)  # fmt: skip
    begun = time.process_time()
    texts = said(root, {"l": [1] * 500, "t": "a" * 100_000, "many": [{"l": [1] * 9_000}] * 300})
    assert time.process_time() - begun < 15
    assert not texts or "running out of cost budget" in texts[-1]
