"""What the API refuses of KubeEdge's Devices and DeviceModels: the definitions that come with the package."""

from __future__ import annotations

from typing import Any

import pytest

from octoedge.apiserver.controllers.definitions import own_definitions
from octoedge.apiserver.crd.budget import Budget
from octoedge.apiserver.crd.structural import SchemaReader
from octoedge.apiserver.crd.validation import validate
from octoedge.testing.devices import MODEL, device


def _said(kind: str, obj: dict[str, Any]) -> str:
    [definition] = [one for one in own_definitions() if one["spec"]["names"]["kind"] == kind]
    version = next(one for one in definition["spec"]["versions"] if one["storage"])
    schema = SchemaReader().read(version["schema"]["openAPIV3Schema"], "")
    return "; ".join(f"{field}: {text}" for _, field, text in validate(schema, obj, Budget()))


def _model(**prop: Any) -> dict[str, Any]:
    return {**MODEL, "spec": {"protocol": "modbus", "properties": [{"name": "t", "type": "INT", **prop}]}}


def test_whole_objects_are_taken() -> None:
    assert _said("Device", device()) == ""
    assert _said("DeviceModel", MODEL) == ""


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ([{"name": "t"}, {"name": "t"}], 'spec.properties[1]: Duplicate value: {"name":"t"}'),
        ([{"reportToCloud": True}], "spec.properties[0].name: Required value"),
        ([{"name": ""}], "spec.properties[0].name"),
        ([{"name": "n" * 10_000}], "spec.properties[0].name: Too long"),
        ([{"name": "t", "collectCycle": -1}], "spec.properties[0].collectCycle"),
        ([{"name": "t", "desired": {}}], "spec.properties[0].desired.value: Required value"),
    ],
)
def test_what_is_wrong_with_a_device_is_named(properties: list[dict[str, Any]], why: str) -> None:
    assert why in _said("Device", device(properties=properties))


def test_what_is_wrong_with_a_model_is_named() -> None:
    assert "spec.properties[0].type: Unsupported value" in _said("DeviceModel", _model(type="COMPLEX"))
    assert "spec.properties[0].accessMode: Unsupported value" in _said("DeviceModel", _model(accessMode="Never"))
    twice = {**MODEL, "spec": {"properties": [{"name": "t"}, {"name": "t"}]}}
    assert "Duplicate value" in _said("DeviceModel", twice)


def test_a_go_cloudcore_writes_null_where_it_has_no_extensions() -> None:
    assert _said("DeviceStatus", {"spec": {}, "status": {"extensions": None}}) == ""
