"""autoscaling/v1 and v2 of one HorizontalPodAutoscaler: nothing is lost on the way there and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.apiserver.behaviours import autoscaling
from octoedge.errors import ApiError

CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
MEMORY = {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}}
ONE = autoscaling.VersionOne()


def kept(**spec: Any) -> dict[str, Any]:
    target = {"kind": "Deployment", "name": "d"}
    head = {"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2", "metadata": {"name": "h"}}
    return {**head, "spec": {"scaleTargetRef": target, "maxReplicas": 5, **spec}}


def test_the_first_cpu_metric_is_a_percentage() -> None:
    shown = ONE.shown(kept(metrics=[CPU, MEMORY], behavior={"scaleUp": {}}))
    assert shown["spec"]["targetCPUUtilizationPercentage"] == 50
    assert shown["metadata"]["annotations"].keys() == {
        "autoscaling.alpha.kubernetes.io/metrics", "autoscaling.alpha.kubernetes.io/behavior",
    }  # fmt: skip


@given(
    st.lists(st.sampled_from([CPU, MEMORY]), max_size=3).filter(lambda some: CPU not in some or some[0] == CPU),
    st.sampled_from([{}, {"behavior": {"scaleDown": {"selectPolicy": "Max"}}}, {"minReplicas": 2}]),
    st.sampled_from([{}, {"status": {"desiredReplicas": 1, "currentReplicas": 1, "conditions": [{"type": "A"}]}}]),
)
def test_there_and_back(metrics: list[Any], more: dict[str, Any], status: dict[str, Any]) -> None:
    before = {**kept(**more, **({"metrics": metrics} if metrics else {})), **status}
    assert ONE.kept(ONE.shown(before)) == before


def test_what_is_left_out_is_filled_in_and_bounds_are_checked() -> None:
    obj = kept()
    autoscaling.normalize(obj)
    assert obj["spec"]["minReplicas"] == 1
    assert obj["spec"]["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 80}
    assert autoscaling.check(obj) == []
    wrong = autoscaling.check(kept(minReplicas=9))
    assert wrong[0][1:] == ("spec.maxReplicas", "Invalid value: 5: must be greater than or equal to `minReplicas`")
    assert [one[1] for one in autoscaling.check(kept(minReplicas=0, maxReplicas=0))] == [
        "spec.minReplicas", "spec.maxReplicas",
    ]  # fmt: skip


def test_an_annotation_that_is_no_json_is_refused() -> None:
    shown = ONE.shown(kept(metrics=[MEMORY]))
    shown["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"] = "{"
    with pytest.raises(ApiError, match="does not hold JSON"):
        ONE.kept(shown)
