"""What the API shows as an edge node's address, and what its edge is told."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from octoedge.cloud.edgecontroller.addresses import ANNOTATION, Door, corrected, noted, own, shown, shown_patch

DOOR = Door("192.0.2.1", 10003)
OWN = [{"type": "InternalIP", "address": "10.9.0.7"}, {"type": "Hostname", "address": "edge-1"}]
SHOWN = [{"type": "InternalIP", "address": "192.0.2.1"}]
ANY = st.dictionaries(st.sampled_from(["phase", "capacity", "images"]), st.text(max_size=5))


def node(addresses: Any = OWN, port: int = 10350, **annotations: str) -> bytes:
    status = {"phase": "x", "addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}
    return msgspec.json.encode(
        {"kind": "Node", "metadata": {"name": "edge-1", "annotations": annotations}, "status": status}
    )


def read(raw: bytes) -> Any:
    return msgspec.json.decode(raw)


def addresses_of(raw: bytes) -> tuple[Any, int]:
    status = read(raw)["status"]
    return status["addresses"], status["daemonEndpoints"]["kubeletEndpoint"]["Port"]


def test_a_node_shows_the_door_and_its_edge_is_told_what_it_said() -> None:
    there = shown(node(other="kept"), DOOR)
    assert addresses_of(there) == (SHOWN, 10003)
    assert read(there)["metadata"]["annotations"]["other"] == "kept"
    assert addresses_of(own(there)) == (OWN, 10350)
    assert shown(there, DOOR) == there


def test_a_node_that_was_never_rewritten_goes_down_as_it_is() -> None:
    assert own(node()) == node()
    garbage: dict[str, Any] = {ANNOTATION: "garbage"}
    assert own(node(**garbage)) == node(**garbage)


def test_a_name_is_shown_as_a_name() -> None:
    assert addresses_of(shown(node(), Door("cloud.example", 10003)))[0] == [
        {"type": "InternalDNS", "address": "cloud.example"}
    ]


def test_in_a_domain_every_node_has_a_name_of_its_own() -> None:
    door = Door("*.edges.example", 10003).of("edge-1")
    assert addresses_of(shown(node(), door)) == ([{"type": "InternalDNS", "address": "edge-1.edges.example"}], 10003)
    assert DOOR.of("edge-1") == DOOR


def test_a_patch_replaces_the_whole_list_and_leaves_the_rest_alone() -> None:
    patch = msgspec.json.encode({"status": {"addresses": OWN, "phase": "y"}})
    assert read(shown_patch(patch, DOOR)) == {"status": {"addresses": [*SHOWN, {"$patch": "replace"}], "phase": "y"}}
    heartbeat = b'{"status":{"conditions":[]}}'
    assert read(shown_patch(heartbeat, DOOR)) == read(heartbeat)


def test_a_new_address_is_noted_once() -> None:
    live = shown(node(), DOOR)
    same = msgspec.json.encode({"status": {"addresses": [*OWN, {"$patch": "replace"}]}})
    assert noted(live, same, DOOR) is None
    assert noted(live, b'{"status":{}}', DOOR) is None
    moved = [{"type": "InternalIP", "address": "10.9.0.8"}]
    note = noted(live, msgspec.json.encode({"status": {"addresses": moved}}), DOOR)
    assert note is not None
    assert read(read(note)["metadata"]["annotations"][ANNOTATION]) == {"addresses": moved, "port": 10350}


def test_the_doors_own_address_is_never_taken_for_the_edges() -> None:
    live = shown(node(), DOOR)
    assert noted(live, live, DOOR) is None


def test_nodes_of_before_are_corrected_and_given_back_when_it_is_switched_off() -> None:
    correction = corrected(node(), DOOR)
    assert correction is not None
    note, status = map(read, correction)
    assert status["status"] == {
        "addresses": [*SHOWN, {"$patch": "replace"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10003}},
    }
    rewritten = shown(node(), DOOR)
    assert note["metadata"]["annotations"][ANNOTATION] == read(rewritten)["metadata"]["annotations"][ANNOTATION]
    assert corrected(rewritten, DOOR) is None
    assert corrected(node(), None) is None
    back = corrected(rewritten, None)
    assert back is not None
    assert read(back[0])["metadata"]["annotations"] == {ANNOTATION: None}
    assert read(back[1])["status"]["addresses"] == [*OWN, {"$patch": "replace"}]
    assert read(back[1])["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] == 10350


def test_another_cloudcore_keeps_what_the_first_one_noted() -> None:
    correction = corrected(shown(node(), Door("192.0.2.9", 10003)), DOOR)
    assert correction is not None
    assert read(correction[1])["status"]["addresses"][0] == SHOWN[0]
    assert read(read(correction[0])["metadata"]["annotations"][ANNOTATION])["addresses"] == OWN


@given(ANY)
def test_everything_else_survives_the_way_there_and_back(rest: dict[str, str]) -> None:
    body = read(node())
    body["status"].update(rest)
    back = read(own(shown(msgspec.json.encode(body), DOOR)))
    assert back["status"] == body["status"]
