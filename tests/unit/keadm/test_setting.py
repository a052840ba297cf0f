"""`--set` as KubeEdge writes it: paths of field names, values of every kind, and clear words for nonsense."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import ConfigError
from octoedge.keadm.setting import changed, parse, split


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-2", -2), ("1.5", 1.5), ("true", True), ("false", False), ("1.2.3.4:10000", "1.2.3.4:10000"),
        ("'7'", "7"), ('"a,b"', "a,b"), ("{a,b}", ["a", "b"]), ("{1,2}", [1, 2]), ("{k:v,n:2}", {"k": "v", "n": 2}),
        ("{}", []), ("", ""),
    ],
)  # fmt: skip
def test_values(text: str, value: Any) -> None:
    assert parse(text) == value


def test_commas_in_braces_and_quotes_do_not_split() -> None:
    text = "A.B={x,y},C='p,q',loose,D=1"
    assert list(split(text)) == ["A.B={x,y}", "C='p,q'", "D=1"]


def test_paths_are_followed_without_regard_to_case() -> None:
    tree = {"modules": {"edgeStream": {"enable": False}, "edged": {"tailoredKubeletConfig": {}}}}
    texts = ["Modules.EdgeStream.Enable=true,Modules.Edged.TailoredKubeletConfig.ClusterDNS[1]=10.0.0.10"]
    assert changed(tree, texts) == {
        "modules": {
            "edgeStream": {"enable": True},
            "edged": {"tailoredKubeletConfig": {"clusterDNS": ["", "10.0.0.10"]}},
        }
    }


def test_sections_and_lists_on_the_way_are_made() -> None:
    assert changed({}, ["A.B[1].C=x"]) == {"a": {"b": [{}, {"c": "x"}]}}


@pytest.mark.parametrize("text", ["A..B=1", "A.B[x]=1", "A.B[999]=1", "=1", "A={x", "A='x"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        changed({}, [text])


def test_nothing_is_below_a_plain_value() -> None:
    with pytest.raises(ConfigError, match="nothing below"):
        changed({"a": 1}, ["A.B=1"])


@given(st.text(max_size=60))
def test_any_text_is_taken_or_refused_as_a_wrong_setting(text: str) -> None:
    with contextlib.suppress(ConfigError):
        changed({}, [text])
