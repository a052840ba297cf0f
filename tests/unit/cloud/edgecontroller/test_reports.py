"""Status reports of old edges."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.cloud.edgecontroller.reports import pod_status, with_status
from octoedge.errors import MessageError
from octoedge.protocol.payloads import PodStatusReport
from octoedge.protocol.resource import Resource


def test_a_nodes_status_is_replaced_but_for_what_the_cloud_knows_better() -> None:
    live = {
        "metadata": {"name": "e", "annotations": {"a": "b"}},
        "status": {"phase": "old", "daemonEndpoints": {"kubeletEndpoint": {"Port": 10351}}},
    }
    report = {
        "UID": "u",
        "Status": {"phase": "new", "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}}},
        "ExtendResources": {"example.com/gpu": [{"name": "GPU-0"}]},
    }
    merged = json.loads(with_status(json.dumps(live).encode(), json.dumps(report).encode()))
    assert merged["status"] == {"phase": "new", "daemonEndpoints": {"kubeletEndpoint": {"Port": 10351}}}
    assert merged["metadata"]["annotations"]["a"] == "b"
    assert json.loads(merged["metadata"]["annotations"]["example.com/gpu"]) == [{"name": "GPU-0"}]


def test_a_report_is_of_one_pod_or_of_many() -> None:
    one = PodStatusReport(resource=Resource("ns", "podstatus", "web"), body=b'{"UID":"u","Name":"x","Status":{}}')
    assert [(uid, name) for uid, name, _ in pod_status(one)] == [("u", "web")]
    body = b'[{"UID":"u","Name":"p","Status":{"phase":"R"}}]'
    many = PodStatusReport(resource=Resource("ns", "podstatus"), body=body)
    assert [(uid, name, bytes(status)) for uid, name, status in pod_status(many)] == [("u", "p", b'{"phase":"R"}')]


@given(st.binary(max_size=50))
def test_garbage_is_no_report(garbage: bytes) -> None:
    for name in ("", "web"):
        with pytest.raises(MessageError):
            list(pod_status(PodStatusReport(resource=Resource("ns", "podstatus", name), body=b"\xff" + garbage)))
    with pytest.raises(MessageError):
        with_status(b"{}", b"\xff" + garbage)
