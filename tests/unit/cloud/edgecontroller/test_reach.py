"""What is open to who holds a node's certificate, by the rules that CloudCore goes by."""

from __future__ import annotations

from octoedge.cloud.edgecontroller.reach import Access, Known, reach
from octoedge.cloud.edgecontroller.references import PodFacts
from octoedge.protocol.resource import Resource

MINE, THEIRS = Resource("default", "secret", "mine"), Resource("default", "secret", "theirs")
OBJECTS = (MINE, THEIRS, *(Resource("default", "serviceaccount", name) for name in ("runner", "admin")))


def _pod(node: str, name: str, secret: Resource, account: str) -> PodFacts:
    return PodFacts("default", name, f"uid-{name}", node, account, frozenset({secret}), frozenset())


def test_the_node_and_its_pods_and_no_more() -> None:
    pods = (_pod("edge-1", "web", MINE, "runner"), _pod("edge-2", "db", THEIRS, "admin"))
    found = reach("edge-1", Known(pods, ("edge-1", "edge-2"), OBJECTS))
    assert Access("read", "secret", "default", "mine") in found
    assert Access("token, as pod web", "serviceaccount", "default", "runner") in found
    assert Access("delete", "pod", "default", "web") in found
    assert Access("write", "node", "", "edge-1") in found
    assert not [access for access in found if access.name in ("theirs", "admin", "db", "edge-2", "*-edge-2")]


def test_a_node_without_pods_reads_no_secret() -> None:
    found = reach("edge-3", Known((), ("edge-1", "edge-3"), OBJECTS))
    assert {access.kind for access in found} == {"node", "lease", "pod"}
    assert {access.name for access in found} == {"edge-3", "*-edge-3"}
