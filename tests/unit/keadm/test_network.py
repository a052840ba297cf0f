"""Addresses and subnets of this machine are seen; what is not ours is not taken."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from octoedge.keadm import network
from octoedge.keadm.layout import Layout


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
