"""The whole capture of KubeEdge's own programs, played against our cloud and our edge by `octoedge replay`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from octoedge.protocol.capture import CLOUD, EDGE, Capture
from octoedge.testing.replay.command import main, replay
from octoedge.testing.replay.differences import DIFFERS, LEFT_OUT, NEW, SAME, Difference
from octoedge.testing.replay.story import load

FILE = Path(__file__).parent / "data" / "hub.jsonl"
POD = "default/pod/httpd-7699ffdfc-gwpf8"

CLOUDS = {
    # KubeEdge words the error itself; ours hands on the API server's.
    "answer to query kube-node-lease/lease/edge-go": {"Err.ErrStatus.details.group", "Err.ErrStatus.details.kind"},
    # What Kubernetes' own controllers had put into the Node by then.
    "answer to insert null/node/edge-go": {"Object.metadata.annotations.node.alpha.kubernetes.io/ttl", "Object.spec"},
}
"""What our cloud says otherwise, and where."""
CLOUD_SAYS_MORE = {
    # What a pod refers to follows it down; KubeEdge waits for the question.
    "object default/configmap/kube-root-ca.crt",
    "object default/configmap/openshift-service-ca.crt",
    # Which devices the node has: KubeEdge leaves the edge's question without an answer.
    "update membership/detail",
}
EDGES = {"insert null/node/edge-go", "patch null/nodepatch/edge-go", "patch default/podpatch/httpd-7699ffdfc-gwpf8"}
"""What depends on the machine, on when the runtime has done what, and on how a patch is written."""
EDGE_SAYS_MORE = {"insert default/event/httpd-7699ffdfc-gwpf8"}
"""KubeEdge's edge reports Events only where it is told to."""


def of(verdict: str, found: list[Difference]) -> Iterator[Difference]:
    return (difference for difference in found if difference.verdict == verdict)


def names(verdict: str, found: list[Difference]) -> set[str]:
    return {difference.what for difference in of(verdict, found)}


@pytest.fixture(scope="module")
def capture() -> Capture:
    return load(FILE)


def test_a_go_edge_hears_from_our_cloud_what_it_heard_from_its_own(capture: Capture) -> None:
    found = replay(capture, "edge-go", CLOUD)
    places = {
        difference.what: {place.partition(": ")[0] for place in difference.places} for difference in of(DIFFERS, found)
    }
    assert places == CLOUDS
    assert names(NEW, found) == CLOUD_SAYS_MORE
    assert {difference.verdict for difference in found} == {SAME, DIFFERS, NEW}, "nothing is missing"
    assert {f"object {POD}", f"delete {POD}", "object default/device/counter1", "update membership"} <= names(
        SAME, found
    )


def test_a_go_cloud_hears_from_our_edge_what_it_heard_from_its_own(capture: Capture) -> None:
    found = replay(capture, "edge-go", EDGE)
    assert names(DIFFERS, found) == EDGES
    assert names(NEW, found) == EDGE_SAYS_MORE
    assert {difference.verdict for difference in found} == {SAME, DIFFERS, NEW, LEFT_OUT}, "nothing is missing"
    same = names(SAME, found)
    assert {f"acknowledgement of update {POD}", f"acknowledgement of delete {POD}", f"delete {POD}"} <= same
    assert {"query default/configmap/web-cm", "query default/secret/web-sec"} <= same
    assert {"acknowledgement of insert default/device/counter1"} <= same
    assert "upload SYS/dis/upload_records" in names(LEFT_OUT, found), "an MQTT client said it"


def test_the_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(FILE), "--all"]) == 1
    said = capsys.readouterr().out
    assert "118 messages from 2026-11-21" in said
    assert "node edge-go against our cloud: 22 the same, 5 otherwise" in said
    assert "node edge-go against our edge: 16 the same, 4 otherwise" in said
    assert "same      delete default/pod/httpd-7699ffdfc-gwpf8" in said
