"""Addresses and subnets of this machine are seen; what is not ours is not taken."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from octoedge.errors import InstallError
from octoedge.keadm import network
from octoedge.keadm.layout import Layout

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes the network")
BARE_BRIDGE = "import fcntl, socket, sys; fcntl.ioctl(socket.socket(), 0x89A0, sys.argv[1].encode() + bytes(1))"


def test_addresses_leave_the_loopback_out() -> None:
    found = [ipaddress.IPv4Address(address) for address in network.addresses()]
    assert not any(address.is_loopback for address in found)


def test_a_foreign_interface_is_not_ours() -> None:
    assert network.owner("lo") == ""
    assert network.owner("octo-none") is None


def test_a_slot_that_nobody_uses_is_found(tmp_path: Path) -> None:
    slotted = network.find_slot(Layout(tmp_path))
    assert network.owner(slotted.bridge) is None


def test_no_bridge_no_rule(tmp_path: Path) -> None:
    assert not network.has_bridge(Layout(tmp_path, slot=99))


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    """A slot far from those of installations, left without a bridge."""
    layout = Layout(tmp_path, slot=98)
    assert network.owner(layout.bridge) is None
    yield layout
    network.remove_bridge(layout)


@needs_root
def test_a_bridge_is_made_marked_and_taken_away(layout: Layout) -> None:
    network.add_bridge(layout)
    assert network.has_bridge(layout)
    assert layout.gateway not in network.addresses()
    network.remove_bridge(layout)
    assert network.owner(layout.bridge) is None


@needs_root
def test_a_bridge_of_another_installation_is_left_alone(layout: Layout) -> None:
    network.add_bridge(layout)
    other = Layout(layout.home / "other", slot=98)
    with pytest.raises(InstallError, match=f"belongs to {layout.home}; it is left alone"):
        network.add_bridge(other)
    network.remove_bridge(other)
    assert network.has_bridge(layout)


@needs_root
def test_a_bridge_whose_making_was_cut_off_is_finished(layout: Layout) -> None:
    subprocess.run((sys.executable, "-c", BARE_BRIDGE, layout.bridge), check=True)
    assert network.owner(layout.bridge) == ""
    network.add_bridge(layout)
    assert network.has_bridge(layout)
