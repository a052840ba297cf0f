"""One installation is kept apart from another, and keeps what was decided for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import ConfigError
from octoedge.keadm.layout import MAX_OFFSET, Layout, Ports, choose, load, locate


def test_the_default_home_is_below_the_users() -> None:
    assert locate({"HOME": "/home/ada"}) == Path("/home/ada/.octoedge")
    assert locate({"HOME": "/home/ada", "OCTOEDGE_HOME": "/srv/edge"}) == Path("/srv/edge")


def test_a_home_too_long_for_sockets_is_refused() -> None:
    with pytest.raises(ConfigError, match="shorter folder"):
        locate({"OCTOEDGE_HOME": "/" + "x" * 99})


def test_the_runtime_socket_fits_below_the_longest_home() -> None:
    home = locate({"OCTOEDGE_HOME": "/" + "x" * 79})
    assert len(f"{Layout(home).runtime_socket}.ttrpc") < 108


@given(st.integers(0, MAX_OFFSET))
def test_every_port_is_shifted_and_stays_a_port(offset: int) -> None:
    ports, defaults = Ports.shifted(offset), Ports.shifted(0)
    for name in Ports.__slots__:
        assert getattr(ports, name) == getattr(defaults, name) + offset <= 65535


@given(st.integers(0, 99), st.integers(0, 99))
def test_slots_share_nothing_that_the_kernel_knows_by_name(one: int, other: int) -> None:
    first, second = (Layout(Path("/h"), slot=slot) for slot in (one, other))
    for name in ("bridge", "subnet", "gateway", "cgroup_root"):
        assert (getattr(first, name) == getattr(second, name)) == (one == other)


def test_nothing_is_loaded_where_nothing_was_set_up(tmp_path: Path) -> None:
    assert load({"OCTOEDGE_HOME": str(tmp_path)}) is None


def test_what_was_decided_comes_back(tmp_path: Path) -> None:
    layout = Layout(tmp_path, offset=700, slot=3, node="barn")
    layout.save()
    assert load({"OCTOEDGE_HOME": str(tmp_path)}) == layout
    assert choose({"OCTOEDGE_HOME": str(tmp_path)}, None, None) == layout


def test_another_offset_than_the_decided_one_is_refused(tmp_path: Path) -> None:
    Layout(tmp_path, offset=700).save()
    environment = {"OCTOEDGE_HOME": str(tmp_path)}
    with pytest.raises(ConfigError, match="uses port offset 700, not 800"):
        choose(environment, 800, None)
    with pytest.raises(ConfigError, match="has the node edge-1, not barn"):
        choose(environment, None, "barn")


def test_the_offset_may_come_from_the_environment(tmp_path: Path) -> None:
    environment = {"OCTOEDGE_HOME": str(tmp_path), "OCTOEDGE_PORT_OFFSET": "900"}
    assert choose(environment, None, None) == Layout(tmp_path, offset=900)
    assert choose(environment, 100, None) == Layout(tmp_path, offset=100)


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "60000"])
def test_a_wrong_offset_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="must be"):
        choose({"OCTOEDGE_HOME": str(tmp_path), "OCTOEDGE_PORT_OFFSET": text}, None, None)


def test_a_home_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(ConfigError, match=r"settings\.json cannot be read: Not a directory; set OCTOEDGE_HOME"):
        load({"OCTOEDGE_HOME": str(tmp_path / "home")})


@pytest.mark.parametrize("content", ["", "{", "[]", '{"portOffset": 1}', '{"portOffset": "x", "slot": 0, "node": ""}'])
def test_broken_settings_are_named(tmp_path: Path, content: str) -> None:
    layout = Layout(tmp_path)
    layout.settings.write_text(content)
    with pytest.raises(ConfigError, match=r"settings\.json cannot be understood"):
        load({"OCTOEDGE_HOME": str(tmp_path)})


def test_a_layout_is_a_value() -> None:
    assert replace(Layout(Path("/h")), slot=1) != Layout(Path("/h"))


@pytest.mark.parametrize("name", ["Barn", "barn_1", "-barn", "barn.", "b" * 64, "barn\n"])
def test_a_name_that_kubernetes_does_not_take_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="not one that Kubernetes takes"):
        choose({"OCTOEDGE_HOME": str(tmp_path)}, None, name)


def test_the_grace_period_is_kept_and_may_be_changed(tmp_path: Path) -> None:
    environment = {"OCTOEDGE_HOME": str(tmp_path)}
    assert choose(environment, None, None).node_grace == 40
    first = choose(environment, None, None, 20)
    assert not first.is_saved()
    first.save()
    assert choose(environment, None, None) == first
    assert first.is_saved()
    assert not choose(environment, None, None, 30).is_saved()


def test_settings_of_before_the_grace_period_are_understood(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"portOffset": 0, "slot": 0, "node": "edge-1"}')
    assert choose({"OCTOEDGE_HOME": str(tmp_path)}, None, None).node_grace == 40


@pytest.mark.parametrize("seconds", [0, 9.9, -1, 1e9, float("nan")])
def test_a_grace_period_that_nodes_cannot_keep_is_refused(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(ConfigError, match="must be from 15 to 86400"):
        choose({"OCTOEDGE_HOME": str(tmp_path)}, None, None, seconds)
