"""OTLP requests, read by OpenTelemetry's own protobuf classes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from octoedge.mappers.push.otel import number, rejected, request
from octoedge.mappers.push.sending import Sample
from octoedge.mappers.push.settings import Otel

NAMES = st.text(min_size=1, max_size=200)


def sample(device: str = "boiler", prop: str = "t", time: int = 1_790_000_000_123) -> Sample:
    return Sample(Otel("http://c"), "plant", device, prop, "float", "", time)


def test_a_gauge_of_a_device() -> None:
    said = ExportMetricsServiceRequest.FromString(request([(sample(), 21.5)]))
    (resource,) = said.resource_metrics
    (attribute,) = resource.resource.attributes
    assert (attribute.key, attribute.value.string_value) == ("device.id", "plant/boiler")
    (scope,) = resource.scope_metrics
    assert scope.scope.name == "octoedge"
    (metric,) = scope.metrics
    assert (metric.name, metric.WhichOneof("data")) == ("t", "gauge")
    (point,) = metric.gauge.data_points
    assert (point.time_unix_nano, point.as_double) == (1_790_000_000_123_000_000, 21.5)


@given(st.lists(st.tuples(NAMES, NAMES, st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=20))
def test_all_points_are_there_zero_too(values: list[tuple[str, str, float]]) -> None:
    samples = [(sample(device, prop, at), value) for at, (device, prop, value) in enumerate(values)]
    said = ExportMetricsServiceRequest.FromString(request(samples))
    found = {
        (resource.resource.attributes[0].value.string_value, metric.name, point.time_unix_nano, point.as_double)
        for resource in said.resource_metrics
        for metric in resource.scope_metrics[0].metrics
        for point in metric.gauge.data_points
        if point.WhichOneof("value") == "as_double"
    }
    assert found == {(f"plant/{one.device}", one.prop, one.time * 1_000_000, value) for one, value in samples}
    assert len(said.resource_metrics) == len({one.device for one, _ in samples})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5", 1.5),
        ("-0", 0.0),
        ("true", 1.0),
        ("false", 0.0),
        ("on", None),
        ("nan", None),
        ("", None),
        ("1e999", None),
    ],
)
def test_what_a_number_is(text: str, value: float | None) -> None:
    assert number(text) == value


def test_a_server_that_took_a_part_says_so() -> None:
    answer = ExportMetricsServiceResponse()
    assert rejected(answer.SerializeToString()) == ""
    answer.partial_success.error_message = "a warning"
    assert rejected(answer.SerializeToString()) == ""
    answer.partial_success.rejected_data_points = 3
    assert rejected(answer.SerializeToString()) == "3 rejected: a warning"
    assert rejected(b"{}") == ""
