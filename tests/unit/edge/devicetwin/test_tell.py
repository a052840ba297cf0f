"""What a mapper of KubeEdge's framework is told, so that it knows models as they are and lives on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from octoedge.api import devices as api
from octoedge.edge.devicetwin.tell import Verb, Wanted, plan, wanted
from octoedge.testing.devices import MODEL, device


def wants(model: dict[str, Any], *, wide: bool, **spec: Any) -> Wanted:
    read = api.read(_json(model), api.DeviceModel)
    one = api.read(_json(device(**spec)), api.Device)
    return wanted("modbus", [one], {"plant/probe": read}, wide=wide)


def _json(obj: dict[str, Any]) -> bytes:
    return msgspec.json.encode(obj)


STRANGE = [{"name": "setpoint", "desired": {"value": "40"}}, {"name": "presure", "reportToCloud": True}]


def test_what_a_go_mapper_would_end_of_is_kept_from_it_and_said() -> None:
    found = wants(MODEL, wide=False, properties=STRANGE)
    assert [prop.name for prop in found.devices["plant/boiler"].spec.properties] == ["setpoint"]
    assert "model plant/probe has no property presure" in found.troubles["plant/boiler"]
    ours = wants(MODEL, wide=True, properties=STRANGE)
    assert [prop.name for prop in ours.devices["plant/boiler"].spec.properties] == ["setpoint", "presure"]
    assert not ours.troubles


@pytest.mark.parametrize(
    ("wide", "told"), [(False, [Verb.MODEL_CHANGED, Verb.DEVICE_CHANGED]), (True, [Verb.MODEL_CHANGED])]
)
def test_a_go_mapper_is_told_of_a_device_again_when_its_model_changes(wide: bool, told: list[Verb]) -> None:
    first = {**MODEL["spec"]["properties"][0], "type": "DOUBLE"}
    changed = {**MODEL, "spec": {**MODEL["spec"], "properties": [first, *MODEL["spec"]["properties"][1:]]}}
    before, after = wants(MODEL, wide=wide).digests(), wants(changed, wide=wide).digests()
    assert [call.verb for call in plan(after, before)] == told
    assert not plan(after, after)
