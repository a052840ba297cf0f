"""What is wrong with a Pod's wishes is said at the door, with the field's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.apiserver.scheduling.placing.pod import wants
from octoedge.apiserver.scheduling.placing.podview import PlacedPod, PlacedSpec
from octoedge.apiserver.scheduling.placing.rules import check
from octoedge.errors import ApiError
from octoedge.testing.controlplane import ControlPlane, simulate, template

Json = dict[str, Any]
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def expression(operator: str, *values: str) -> Json:
    return {"key": "k", "operator": operator, "values": list(values)}


def on_node(*expressions: Json) -> Json:
    terms = [{"matchExpressions": list(expressions)}] if expressions else []
    return {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}}}


def near(term: Json) -> Json:
    return {"affinity": {"podAffinity": {REQUIRED: [term]}}}


def spread(**more: Any) -> Json:
    return {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", **more}


WRONG = [
    (on_node(), "nodeSelectorTerms: Required value: must have at least one node selector term"),
    (on_node(expression("In")), "values: Required value: must be specified when `operator` is 'In' or 'NotIn'"),
    (on_node(expression("Exists", "a")), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
    (on_node(expression("Gt", "1", "2")), "must be specified single value when `operator` is 'Lt' or 'Gt'"),
    (on_node(expression("Gt", "many")), 'Invalid value: "many": must be an integer'),
    (on_node(expression("Like", "a")), "not a valid selector operator"),
    ({"affinity": {"nodeAffinity": {PREFERRED: [{"weight": 500, "preference": {}}]}}}, "must be in the range 1-100"),
    (near({"topologyKey": "", "labelSelector": {}}), "topologyKey: Required value"),
    (
        near({"topologyKey": "t", "labelSelector": {"matchExpressions": [expression("Gt", "1")]}}),
        "not a valid selector",
    ),
    ({"topologySpreadConstraints": [spread(maxSkew=0)]}, "must be greater than zero"),
    ({"topologySpreadConstraints": [spread(minDomains=0)]}, "must be greater than zero"),
    (
        {"topologySpreadConstraints": [spread(minDomains=2, whenUnsatisfiable="ScheduleAnyway")]},
        "can only use minDomains if whenUnsatisfiable=DoNotSchedule",
    ),
    ({"topologySpreadConstraints": [spread(), spread()]}, "Duplicate value"),
    ({"tolerations": [{"operator": "Equal"}]}, "operator must be Exists when `key` is empty"),
    ({"tolerations": [{"key": "k", "operator": "Exists", "value": "v"}]}, "value must be empty when"),
    ({"tolerations": [{"key": "k", "tolerationSeconds": 1}]}, "effect must be 'NoExecute'"),
    ({"schedulingGates": [{"name": "a.b/c"}], "nodeName": "n"}, "until all schedulingGates have been cleared"),
]


@pytest.mark.parametrize(("spec", "said"), WRONG)
def test_it_is_said(spec: Json, said: str) -> None:
    texts = [f"{field}: {text}" for _, field, text in check(spec)]
    assert any(said in text for text in texts), texts


def test_a_pod_and_a_template_are_refused(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        pod = {"kind": "Pod", "apiVersion": "v1", **template("p", **on_node(expression("Gt", "many")))}
        pod["metadata"]["name"] = "p"
        with pytest.raises(ApiError, match="must be an integer"):
            await at.create(pod)
        bad = template("w", tolerations=[{"key": "k", "tolerationSeconds": 1}])
        body = {"selector": {"matchLabels": {"app": "w"}}, "template": bad}
        with pytest.raises(ApiError, match=r"spec\.template\.spec\.tolerations\[0\]\.effect"):
            await at.create({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "w"}, "spec": body})

    simulate(tmp_path, story)


_operators = st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Like", ""])
_values = st.lists(st.sampled_from(["a", "1", "-3", ""]), max_size=2)


@given(st.lists(st.builds(lambda operator, values: expression(operator, *values), _operators, _values), min_size=1))
def test_what_passes_can_be_understood(expressions: list[Json]) -> None:
    spec = on_node(*expressions)
    if not check(spec):
        found = wants(PlacedPod(spec=PlacedSpec(affinity=spec["affinity"])))
        assert found.node_terms is not None
        for term in found.node_terms:
            term.matches({"k": "1"}, "n")
