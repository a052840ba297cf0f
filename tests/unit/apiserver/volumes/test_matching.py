"""Which volume a claim gets."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.apiserver.volumes.matching import Claim, Reference, Volume, choose, claim_of, obstacle, volume_of

Json = dict[str, Any]


def volume(name: str = "v", **spec: Any) -> Json:
    body = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}, **spec}
    return {"kind": "PersistentVolume", "apiVersion": "v1", "metadata": {"name": name}, "spec": body}


def claim(name: str = "c", size: str = "1Gi", **spec: Any) -> Json:
    body = {"resources": {"requests": {"storage": size}}, "accessModes": ["ReadWriteOnce"], **spec}
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
    return {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": metadata, "spec": body}


def made(obj: Json) -> Volume:
    return volume_of(msgspec.json.encode(obj))


@pytest.mark.parametrize(
    ("wish", "offer", "why"),
    [
        ({}, {}, ""),
        ({"size": "2Gi"}, {}, "requested PV is too small"),
        ({"size": "1Gi"}, {"capacity": {"storage": "1073741824"}}, ""),
        ({"storageClassName": "a"}, {"storageClassName": "b"}, "storageClassName does not match"),
        ({"storageClassName": ""}, {}, ""),
        ({"accessModes": ["ReadWriteMany"]}, {}, "incompatible accessMode"),
        ({"accessModes": ["ReadWriteOnce"]}, {"accessModes": ["ReadWriteMany", "ReadWriteOnce"]}, ""),
        ({"volumeMode": "Block"}, {}, "incompatible volumeMode"),
        ({"selector": {"matchLabels": {"a": "b"}}}, {}, "its labels do not match the selector"),
    ],
)
def test_what_will_do(wish: Json, offer: Json, why: str) -> None:
    assert obstacle(claim_of(claim(**wish)), made(volume(**offer))) == why


def test_the_smallest_that_will_do_but_the_one_made_for_it_first() -> None:
    sizes = {"big": "8Gi", "small": "1Gi", "fit": "2Gi", "also": "2Gi"}
    volumes = [made(volume(name, capacity={"storage": size})) for name, size in sizes.items()]
    wanted = claim_of(claim(size="1500Mi"))
    assert getattr(choose(wanted, volumes), "name", None) == "also"
    reserved = {"namespace": "default", "name": "c"}
    volumes.append(made(volume("mine", claimRef=reserved)))
    assert getattr(choose(wanted, volumes), "name", None) == "mine"
    other = made(volume("theirs", claimRef={**reserved, "uid": "another"}))
    assert choose(wanted, [other]) is None


def test_a_local_volume_is_had_on_its_node_only() -> None:
    terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["edge-1"]}]}]
    local = made(volume(nodeAffinity={"required": {"nodeSelectorTerms": terms}}))
    assert choose(claim_of(claim()), [local], ("edge-1", {"kubernetes.io/hostname": "edge-1"})) is local
    assert choose(claim_of(claim()), [local], ("edge-2", {"kubernetes.io/hostname": "edge-2"})) is None


volumes = st.builds(
    Volume,
    name=st.sampled_from("abcdef"),
    labels=st.just({}),
    storage_class=st.sampled_from(["", "fast"]),
    mode=st.just("Filesystem"),
    access=st.sets(st.sampled_from(["ReadWriteOnce", "ReadOnlyMany"]), min_size=1).map(frozenset),
    size=st.integers(1, 5).map(Fraction),
    claim=st.none() | st.builds(Reference, st.just("default"), st.sampled_from("xy"), st.sampled_from(["", "u"])),
    terms=st.none(),
    leaving=st.booleans(),
)


@given(st.lists(volumes, max_size=8), st.integers(1, 5))
def test_what_is_chosen_is_free_or_meant_and_large_enough(offered: list[Volume], size: int) -> None:
    modes = frozenset({"ReadWriteOnce"})
    wanted = Claim("default", "x", "u", "", "Filesystem", modes, Fraction(size), None, "", leaving=False)
    chosen = choose(wanted, offered)
    if chosen is None:
        assert all(obstacle(wanted, one) or one.claim is not None for one in offered)
        return
    assert not chosen.leaving
    assert wanted.is_meant_by(chosen.claim) or (chosen.claim is None and not obstacle(wanted, chosen))
