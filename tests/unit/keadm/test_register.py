"""Which nodes there are is kept, numbers are given once, and nonsense is named."""

from __future__ import annotations

import ipaddress
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from octoedge.errors import ConfigError, InstallError
from octoedge.keadm.layout import Layout
from octoedge.keadm.register import MOST, Register, file, load


@pytest.fixture
def nodes() -> Iterator[Register]:
    """In a folder whose name is short, as a home's has to be."""
    with tempfile.TemporaryDirectory(prefix="octoedge-") as home:
        yield Register(Layout(Path(home), offset=10, slot=3))


def test_without_a_file_there_is_the_first_node(nodes: Register) -> None:
    assert [node.node for node in load(nodes.cloud).nodes()] == ["edge-1"]


def test_what_was_added_and_cut_comes_back(nodes: Register) -> None:
    nodes = nodes.added("edge-2").added("site.barn-3").cut("edge-1", off=True).cut("edge-2", off=True)
    nodes.save()
    assert load(nodes.cloud) == nodes
    assert nodes.cut("edge-1", off=False).disconnected == {"edge-2"}
    assert nodes.removed("edge-2").disconnected == {"edge-1"}


def test_a_number_is_free_again_when_its_node_is_gone(nodes: Register) -> None:
    nodes = nodes.added("a").added("b").removed("a").added("c")
    assert {node.node: node.number for node in nodes.nodes()} == {"edge-1": 1, "b": 3, "c": 2}


def test_adding_twice_changes_nothing(nodes: Register) -> None:
    assert nodes.added("a").added("a") == nodes.added("a")


def test_nodes_share_nothing_that_the_kernel_knows_by_name(nodes: Register) -> None:
    for number in range(2, MOST + 1):
        nodes = nodes.added(f"n{number}")
    found = list(nodes.nodes())
    for name in ("namespace", "subnet", "cgroup_root", "home", "runtime_socket", "address"):
        assert len({getattr(node, name) for node in found}) == MOST
    assert all(ipaddress.IPv4Network(node.subnet) for node in found)
    assert {node.links for node in found} == {nodes.cloud.links}
    with pytest.raises(InstallError, match="which is the most"):
        nodes.added("one-more")


def test_a_name_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shorter name for the node"):
        Register(Layout(tmp_path)).added("x" * 63)


@pytest.mark.parametrize("name", ["Barn", "a_b", "../x", ""])
def test_a_wrong_name_is_refused(nodes: Register, name: str) -> None:
    with pytest.raises(ConfigError, match="not one that Kubernetes takes"):
        nodes.added(name)


def test_the_first_node_and_strangers_are_told_apart(nodes: Register) -> None:
    with pytest.raises(InstallError, match="`octoedge up` made"):
        nodes.added("edge-1")
    with pytest.raises(InstallError, match="here are: edge-1, a"):
        nodes.added("a").node("b")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"nodes": [{"name": "a"}], "disconnected": []}'])
def test_a_broken_file_is_named(nodes: Register, content: str) -> None:
    file(nodes.cloud).write_text(content)
    with pytest.raises(ConfigError, match=r"nodes\.json cannot be understood"):
        load(nodes.cloud)
