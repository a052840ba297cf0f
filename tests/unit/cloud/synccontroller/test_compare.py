"""The comparison: what a node lacks and what it has too much of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from octoedge.cloud.ports import Live, Wanted
from octoedge.cloud.synccontroller.compare import Known, Missing, Repair, Surplus, compare
from octoedge.protocol.resource import Resource

WEB = Resource("default", "pod", "web")
VOLUME = Resource("null", "persistentvolume", "v")


def _compare(known: list[Known], wanted: list[Wanted], live: dict[Resource, Live] | None = None) -> list[Repair]:
    existing = {one.resource: Live(one.uid, one.version) for one in wanted} | (live or {})
    return compare({one.uid: one for one in known}, wanted, lambda kind: kind == "pod", existing.get)


def test_a_new_node_lacks_everything() -> None:
    wanted = Wanted(WEB, "u", 5)
    assert _compare([], [wanted]) == [Missing(wanted, first=True)]


def test_what_may_have_arrived_is_sent_again_as_new() -> None:
    wanted = Wanted(WEB, "u", 5)
    assert _compare([Known(WEB, "u", 0)], [wanted]) == [Missing(wanted, first=True)]


def test_a_missed_change_is_sent() -> None:
    wanted = Wanted(WEB, "u", 5)
    assert _compare([Known(WEB, "u", 4)], [wanted]) == [Missing(wanted, first=False)]


def test_a_node_that_has_all_gets_nothing() -> None:
    assert _compare([Known(WEB, "u", 5)], [Wanted(WEB, "u", 5)]) == []
    assert _compare([Known(WEB, "u", 6)], [Wanted(WEB, "u", 5)]) == []


def test_a_missed_delete_is_sent() -> None:
    known = Known(WEB, "u", 5)
    assert _compare([known], []) == [Surplus(known)]


def test_an_object_made_anew_is_removed_first() -> None:
    known, wanted = Known(WEB, "old", 5), Wanted(WEB, "new", 9)
    assert _compare([known], [wanted]) == [Surplus(known), Missing(wanted, first=True)]


def test_what_exists_and_is_not_wanted_stays() -> None:
    assert _compare([Known(WEB, "u", 5)], [], {WEB: Live("u", 9)}) == []


def test_the_absence_of_what_nobody_tracks_says_nothing() -> None:
    assert _compare([Known(VOLUME, "u", 5)], []) == []


_names = st.sampled_from(["a", "b", "c"])
_uids = st.sampled_from(["1", "2"])


@given(
    st.dictionaries(st.tuples(_names, _uids), st.integers(0, 5), max_size=6),
    st.dictionaries(_names, st.tuples(_uids, st.integers(1, 5)), max_size=3),
)
def test_after_the_repairs_there_is_nothing_to_repair(
    known: dict[tuple[str, str], int], wanted: dict[str, tuple[str, int]]
) -> None:
    def resource(name: str) -> Resource:
        return Resource("default", "pod", name)

    has = [Known(resource(name), name + uid, version) for (name, uid), version in known.items()]
    want = [Wanted(resource(name), name + uid, version) for name, (uid, version) in wanted.items()]
    after = {one.uid: one for one in has}
    for repair in _compare(has, want):
        if isinstance(repair, Surplus):
            del after[repair.known.uid]
        else:
            one = repair.wanted
            after[one.uid] = Known(one.resource, one.uid, one.version)
    assert _compare(list(after.values()), want) == []
    assert {one.uid for one in want} == set(after)
