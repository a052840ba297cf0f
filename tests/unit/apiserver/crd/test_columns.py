"""JSONPaths of printer columns."""

from __future__ import annotations

from typing import Any

import pytest

from octoedge.apiserver.crd.columns import PathError, cell, columns, compile_path

OBJ = {
    "metadata": {"name": "n", "labels": {"a.b/c": "l"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
    "spec": {"list": [{"name": "x", "on": True}, {"name": "y", "on": False}], "n": 3, "f": 2.5, "text": "t", "zero": 0},
    "status": {"conditions": [{"type": "A", "status": "False"}, {"type": "Ready", "status": "True"}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.text", ["t"]),
        ("{.spec.text}", ["t"]),
        ("$.spec.n", [3]),
        (".spec.list[0].name", ["x"]),
        (".spec.list[-1].name", ["y"]),
        (".spec.list[5].name", []),
        (".spec.list[*].name", ["x", "y"]),
        (".metadata.labels['a.b/c']", ["l"]),
        (r".metadata.labels.a\.b/c", ["l"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type == 'Ready')].status", ["True"]),
        ('.status.conditions[?(@.type!="Ready")].status', ["False"]),
        (".spec.list[?(@.on==true)].name", ["x"]),
        (".spec.text.deeper", []),
    ],
)
def test_paths(path: str, found: list[Any]) -> None:
    assert list(compile_path(path)(OBJ)) == found


@pytest.mark.parametrize("path", ["", "spec", ".spec[", ".spec..a", "..", ".a[?(@.b)]", ".a[1:2]", ".a[?(@.b=='x)]"])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(PathError):
        compile_path(path)


@pytest.mark.parametrize(
    ("path", "kind", "shown"),
    [
        (".spec.n", "integer", 3),
        (".spec.text", "integer", None),
        (".spec.f", "number", 2.5),
        (".spec.list[0].on", "boolean", True),
        (".spec.list[0]", "string", '{"name":"x","on":true}'),
        (".spec.n", "string", "3"),
        (".metadata.creationTimestamp", "date", "60s"),
        (".spec.zero", "integer", 0),
        (".spec.none", "string", None),
    ],
)
def test_cells(path: str, kind: str, shown: Any) -> None:
    assert cell(path, kind)(OBJ, 1767225660.0) == shown


def test_without_columns_there_are_name_and_age() -> None:
    assert [column.name for column in columns([])] == ["Name", "Age"]
    assert [column.name for column in columns([{"name": "N", "type": "integer", "jsonPath": ".spec.n"}])] == [
        "Name",
        "N",
    ]
