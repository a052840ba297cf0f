"""What every kind's structure asks for."""

from __future__ import annotations

from typing import Any

import pytest

from octoedge.apiserver.schema.schema import Schema
from octoedge.apiserver.writing import rules

SCHEMA = Schema.load()


def pod(volume: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", **volume}]}}


@pytest.mark.parametrize(
    ("lun", "causes"),
    [({"lun": 0}, []), ({"lun": 7}, []), ({}, [("FieldValueRequired", "spec.volumes[0].iscsi.lun", "Required value")])],
)
def test_the_first_unit_of_an_iscsi_target_is_a_unit(lun: dict[str, int], causes: list[Any]) -> None:
    volume = {"iscsi": {"targetPortal": "192.0.2.1:3260", "iqn": "iqn.2001-04.com.example:storage", **lun}}
    assert rules.structure(SCHEMA, SCHEMA.of_kind("", "v1", "Pod"), pod(volume)) == causes


def test_the_first_revision_may_be_zero() -> None:
    definition = SCHEMA.of_kind("apps", "v1", "ControllerRevision")
    assert rules.structure(SCHEMA, definition, {"revision": 0}) == []
