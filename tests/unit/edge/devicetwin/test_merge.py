"""The algebra of twins: KubeEdge's outcomes, and laws that hold whatever comes."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.edge.devicetwin.merge import (
    Merged,
    Stored,
    after,
    combine,
    delta,
    merge_cloud,
    merge_desired,
    merge_local,
)
from octoedge.edge.devicetwin.twin import Twin, TypeMetadata, Value, Version, read_twins
from octoedge.errors import MessageError

NOW = 1769847300011
EARLIER = 1769847200000
SETPOINT = Stored(
    "int", False, Value("40", {"timestamp": EARLIER}), None, Version(7, 0), Version(), desired="40", declared=True
)


def local(before: dict[str, Stored], **twins: Any) -> Merged:
    return merge_local(before, msgspec.convert(twins, dict[str, Twin | None]), NOW)


def plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


def test_a_report_is_answered_documented_and_sent_up_as_kubeedge_does() -> None:
    merged = local({"setpoint": SETPOINT}, setpoint={"actual": {"value": "38"}, "metadata": {"type": "int"}})
    actual = {"value": "38", "metadata": {"timestamp": NOW}}
    kept = {"optional": False, "metadata": {"type": "int"}}
    expected = {"value": "40", "metadata": {"timestamp": EARLIER}}
    assert plain(merged.result) == {"setpoint": {"actual": actual, **kept}}
    assert plain(merged.document) == {
        "setpoint": {
            "last": {"expected": expected, **kept},
            "current": {"expected": expected, "actual": actual, **kept},
        }
    }
    assert plain(merged.report) == {"setpoint": {"actual": actual, **kept, "actual_version": {"cloud": 0, "edge": 1}}}
    told = delta(after({"setpoint": SETPOINT}, merged))
    assert told is not None
    assert plain(told[0]) == {"setpoint": {"expected": expected, "actual": actual, **kept}}
    assert told[1] == {"setpoint": "40"}


def test_a_device_that_is_as_it_should_be_has_no_delta() -> None:
    twins = after({"setpoint": SETPOINT}, local({"setpoint": SETPOINT}, setpoint={"actual": {"value": "40"}}))
    assert delta(twins) is None


def test_the_same_value_again_is_a_change_with_a_new_version() -> None:
    once = after({}, local({}, t={"actual": {"value": "1"}}))
    twice = after(once, local(once, t={"actual": {"value": "1"}}))
    assert twice["t"].actual_version == Version(0, 2)


def test_an_optional_twin_is_deleted_and_comes_back_with_its_versions() -> None:
    made = after({}, local({}, t={"actual": {"value": "1"}, "expected": {"value": "2"}}))
    deleted = local(made, t=None)
    assert (deleted.result, plain(deleted.document["t"]["current"])) == ({"t": None}, None)
    assert plain(deleted.report["t"])["metadata"] == {"type": "deleted"}
    gone = after(made, deleted)
    assert local(gone, t=None) == Merged()
    back = after(gone, local(gone, t={"actual": {"value": "3"}, "metadata": {"type": "int"}}))
    assert (back["t"].type, back["t"].actual_version) == ("int", Version(0, 2))


def test_a_twin_that_is_not_optional_stays() -> None:
    assert local({"setpoint": SETPOINT}, setpoint=None) == Merged()
    with pytest.raises(MessageError, match="no twin 'x'"):
        local({}, x=None)


@pytest.mark.parametrize(
    ("kind", "value", "good"),
    [
        ("int", "42", True), ("int", "-9223372036854775808", True), ("int", "9223372036854775808", False),
        ("int", "4_2", False), ("int", "٤", False), ("integer", "1.5", False), ("float", "1e-3", True),
        ("float", "1_0", False), ("float", "abc", False), ("double", "63.5", True), ("boolean", "true", True),
        ("boolean", "1", False), ("string", "any thing — at all", True), ("weird", "x", False),
    ],
)  # fmt: skip
def test_values_are_of_their_type(kind: str, value: str, good: bool) -> None:
    with contextlib.nullcontext() if good else pytest.raises(MessageError, match="twin 't'"):
        assert local({}, t={"actual": {"value": value}, "metadata": {"type": kind}}).twins["t"].actual is not None


def test_the_type_of_a_twin_does_not_change() -> None:
    twins = after({}, local({}, t={"actual": {"value": "1"}, "metadata": {"type": "int"}}))
    assert local(twins, t={"actual": {"value": "2"}, "metadata": {"type": "Updated"}}).twins["t"].type == "int"
    with pytest.raises(MessageError, match="is no int"):
        local(twins, t={"actual": {"value": "warm"}})


def test_remarks_of_a_mapper_stay_with_the_value() -> None:
    said = {"value": "1", "metadata": {"timestamp": 5, "quality": "bad", "reason": "no answer"}}
    stored = local({}, t={"actual": said}).twins["t"].actual
    assert plain(stored) == {
        "value": "1",
        "metadata": {"timestamp": NOW, "quality": "bad", "reason": "no answer", "sourceTime": "5"},
    }


def test_an_old_cloud_wins_when_it_is_not_behind_and_else_the_edge_does() -> None:
    wanted = Twin(Value("50"), metadata=TypeMetadata("int"), expected_version=Version(8, 0))
    assert merge_cloud({"setpoint": SETPOINT}, {"setpoint": wanted}, NOW).twins["setpoint"].expected_version == Version(
        8
    )
    behind = msgspec.structs.replace(wanted, expected_version=Version(6, 0))
    merged = merge_cloud({"setpoint": SETPOINT}, {"setpoint": behind}, NOW)
    assert not merged.twins
    assert plain(merged.report["setpoint"])["expected_version"] == {"cloud": 7, "edge": 0}
    gone = Twin(metadata=TypeMetadata("deleted"))
    assert merge_cloud({"setpoint": SETPOINT}, {"setpoint": gone}, NOW).twins["setpoint"].deleted


def test_a_desired_value_counts_when_the_device_says_another_one() -> None:
    set_here = after({"setpoint": SETPOINT}, local({"setpoint": SETPOINT}, setpoint={"expected": {"value": "45"}}))
    same = merge_desired(set_here, {"setpoint": ("40", "int")}, 8, NOW)
    assert same == Merged(), "an unrelated change of the Device does not take back what was set here"
    other = after(set_here, merge_desired(set_here, {"setpoint": ("50", "int")}, 9, NOW))
    assert other["setpoint"].expected is not None
    assert (other["setpoint"].expected.value, other["setpoint"].expected_version) == ("50", Version(9, 1))
    none = after(other, merge_desired(other, {"setpoint": ("", "int")}, 10, NOW))
    assert none["setpoint"].expected is None
    removed = after(none, merge_desired(none, {}, 11, NOW))
    assert removed["setpoint"].deleted


def test_properties_that_only_mqtt_clients_know_are_left_alone() -> None:
    mine = after({}, local({}, extra={"actual": {"value": "1"}}))
    assert merge_desired(mine, {"setpoint": ("", "int")}, 1, NOW).twins.keys() == {"setpoint"}


def test_a_desired_value_that_is_no_value_of_its_type_is_kept_out() -> None:
    merged = merge_desired({"setpoint": SETPOINT}, {"setpoint": ("warm", "int")}, 8, NOW)
    kept = merged.twins["setpoint"]
    assert (kept.expected, kept.desired) == (SETPOINT.expected, "warm")


KEYS = st.sampled_from(["a", "b", "c"])
VALUES = st.builds(Value, st.sampled_from(["1", "2", "", "true"]), st.none() | st.just({"timestamp": 3}))
TWINS = st.builds(
    Twin, st.none() | VALUES, st.none() | VALUES, st.none() | st.booleans(),
    st.none() | st.builds(TypeMetadata, st.sampled_from(["string", "int", "boolean"])),
)  # fmt: skip
MESSAGES = st.lists(st.dictionaries(KEYS, st.none() | TWINS, min_size=1, max_size=3), max_size=12)


def run(messages: list[dict[str, Twin | None]]) -> list[tuple[dict[str, Stored], Merged]]:
    """Each state with the change that led to it; refused messages change nothing."""
    states: list[tuple[dict[str, Stored], Merged]] = [({}, Merged())]
    for message in messages:
        with contextlib.suppress(MessageError):
            merged = merge_local(states[-1][0], message, NOW)
            states.append((after(states[-1][0], merged), merged))
    return states


@given(MESSAGES)
def test_versions_never_go_back_and_what_did_not_change_is_untouched(messages: list[dict[str, Twin | None]]) -> None:
    states = run(messages)
    for (before, _), (now, merged) in itertools.pairwise(states):
        for key, old in before.items():
            assert now[key].expected_version.edge >= old.expected_version.edge
            assert now[key].actual_version.edge >= old.actual_version.edge
            if key not in merged.twins:
                assert now[key] == old
            if not old.optional and not old.deleted:
                assert not now[key].deleted


@given(MESSAGES)
def test_a_report_says_what_is_stored(messages: list[dict[str, Twin | None]]) -> None:
    for now, merged in run(messages):
        for key, told in merged.report.items():
            stored = now[key]
            if told.actual is not None:
                assert (told.actual, told.actual_version) == (stored.actual, stored.actual_version)
            if told.expected is not None:
                assert (told.expected, told.expected_version) == (stored.expected, stored.expected_version)


@given(MESSAGES)
def test_reports_that_were_not_sent_become_one_that_says_the_latest(messages: list[dict[str, Twin | None]]) -> None:
    states = run(messages)
    combined: dict[str, Twin] = {}
    for _, merged in states:
        combined = combine(combined, merged.report)
    final = states[-1][0]
    for key, told in combined.items():
        if told.actual is not None and final[key].actual is not None:
            assert told.actual == final[key].actual
    for key, stored in final.items():
        if stored.actual is not None:
            assert combined[key].actual == stored.actual


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_payload_is_a_message_or_is_refused(body: bytes) -> None:
    with contextlib.suppress(MessageError):
        merge_local({}, read_twins(body).twin or {}, NOW)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "cannot be read"),
        (b"{}", "names no twin"),
        (b'{"twin":{}}', "names no twin"),
        (b'{"twin":{"a b":{"actual":{"value":"1"}}}}', "the twin's name"),
        (b'{"twin":{"' + b"k" * 10_000 + b'":{"actual":{"value":"1"}}}}', "the twin's name"),
        (b'{"twin":{"t":{"actual":{"value":"' + b"v" * 200_000 + b'"}}}}', "has 200000 characters"),
        (b'{"twin":{"t":{"actual":{}}}}', "has no value"),
        (b'{"twin":{"t":{"actual":{"value":7}}}}', "cannot be read"),
        (b'{"twin":{"t":{"actual":{"value":"7","metadata":{"timestamp":"7"}}}}}', "not a number of milliseconds"),
        (b'{"twin":{"t":{"actual":{"value":"7","metadata":{"x":{}}}}}}', "holds more than"),
        (b'{"twin":' + b"[" * 100_000, "cannot be read"),
    ],
)
def test_what_is_wrong_with_an_update_is_said(body: bytes, why: str) -> None:
    with pytest.raises(MessageError, match=why):
        read_twins(body)
