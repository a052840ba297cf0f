"""A Pod that found no node is tried again when something has changed, not too soon, and never forgotten."""

from __future__ import annotations

from octoedge.apiserver.scheduling.placing.pod import wants
from octoedge.apiserver.scheduling.placing.podview import PlacedPod, PlacedSpec
from octoedge.apiserver.scheduling.placing.waiting import Waiting


def test_pauses_grow_and_end() -> None:
    one = Waiting(("default", "p"), "u", wants(PlacedPod()))
    assert one.is_due((0, 0), 0.0)
    now, pauses = 0.0, []
    for state in range(1, 8):
        one.tried((state - 1, 0), now)
        assert not one.is_due((state - 1, 0), now + 200)
        due = one.wakes((state, 0))
        pauses.append(due - now)
        now = due
    assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]
    one.tried((7, 0), now)
    assert one.is_due((7, 0), now + 300)


def test_who_wishes_for_company_is_tried_when_somebody_comes() -> None:
    term = {"topologyKey": "t", "labelSelector": {}}
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    choosy = Waiting(("default", "p"), "u", wants(PlacedPod(spec=PlacedSpec(affinity=near))))
    plain = Waiting(("default", "q"), "v", wants(PlacedPod()))
    for one in (choosy, plain):
        one.tried((0, 0), 0.0)
    assert (choosy.is_due((0, 1), 5.0), plain.is_due((0, 1), 5.0)) == (True, False)


def test_the_important_come_first() -> None:
    high = Waiting(("default", "z"), "u", wants(PlacedPod(spec=PlacedSpec(priority=5))))
    low = Waiting(("default", "a"), "v", wants(PlacedPod()))
    assert sorted([low, high], key=Waiting.order) == [high, low]
