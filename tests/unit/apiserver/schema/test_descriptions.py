"""kubectl explain says what fields are for when the package that knows it is there, and where to get it otherwise."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from octoedge.apiserver.kinds import Kinds
from octoedge.apiserver.schema.descriptions import ABSENT, VERSION, Descriptions
from octoedge.apiserver.schema.openapi import OpenApi
from octoedge.apiserver.schema.schema import Schema
from octoedge.apiserver.serving.requests import Request, User

POD = "io.k8s.api.core.v1.Pod"


def document(descriptions: Descriptions) -> Any:
    request = Request("GET", "/openapi/v3/apis/apps/v1", {}, {}, b"", User("x"))
    answer = OpenApi(Kinds(), Schema.load(), descriptions).answer(request)
    assert answer is not None
    return json.loads(answer.body)["components"]["schemas"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package as kubernetes-validate lies on disk, with words of its own."""
    folder = tmp_path / "words/kubernetes-json-schema" / VERSION
    folder.mkdir(parents=True)
    (tmp_path / "words/__init__.py").touch()
    definition = {"description": "The whole.", "properties": {"spec": {"description": "The part.", "type": "object"}}}
    (folder / "_definitions.json").write_text(json.dumps({"$defs": {"io.k8s.api.apps.v1.Deployment": definition}}))
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_without_the_package_fields_and_types_are_there_and_where_to_get_it() -> None:
    row = document(Descriptions("there_is_no_such_package"))["io.k8s.api.apps.v1.Deployment"]
    assert row["description"] == ABSENT
    assert "octoedge[explain]" in ABSENT
    assert "spec" in row["properties"]
    assert "description" not in row["properties"]["spec"]


def test_with_it_definitions_and_fields_are_described(package: Path) -> None:
    row = document(Descriptions("words"))["io.k8s.api.apps.v1.Deployment"]
    assert (row["description"], row["properties"]["spec"]["description"]) == ("The whole.", "The part.")
    assert row["properties"]["spec"]["allOf"]


def test_a_broken_package_does_not_matter(package: Path, caplog: pytest.LogCaptureFixture) -> None:
    (package / "_definitions.json").write_text("{")
    assert Descriptions("words").of(POD) is None
    assert "cannot be read" in caplog.text


def test_nothing_of_the_package_is_imported(package: Path) -> None:
    Descriptions("words").of(POD)
    assert "words" not in sys.modules
