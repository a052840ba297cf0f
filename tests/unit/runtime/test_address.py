"""The machine's own address."""

from __future__ import annotations

import ipaddress

from octoedge.runtime.address import local_ip


def test_the_local_ip_is_an_address_of_this_machine() -> None:
    assert not ipaddress.ip_address(local_ip()).is_unspecified
