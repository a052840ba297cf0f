"""Which networks of the machine stand in the way of a route to a further node's pods."""

from __future__ import annotations

from pathlib import Path

import pytest

from octoedge.keadm.layout import Layout
from octoedge.keadm.podroutes import is_taken

NODE = Layout(Path("/home/ada/.octoedge")).further("edge-2", 2)
MACHINE = """default via 192.0.2.1 dev eth0
10.88.77.0/24 dev octo0 proto kernel scope link src 10.88.77.1
10.89.77.0/24 dev octol0 proto kernel scope link src 10.89.77.1
"""


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        ("", False),
        ("10.101.77.0/24 via 10.89.77.2 dev octol0", False),
        ("10.101.78.0/24 dev eth1 scope link", False),
        ("10.101.77.0/24 via 10.89.77.20 dev octol0", True),
        ("10.101.0.0/16 dev eth1 scope link", True),
        ("10.101.77.9 via 192.0.2.7 dev eth0", True),
        ("unreachable 10.0.0.0/8", True),
        ("0.0.0.0/0 via 192.0.2.1", False),
    ],
)
def test_a_network_that_the_machine_knows_is_not_taken_away(line: str, taken: bool) -> None:
    assert is_taken(MACHINE + line, NODE) is taken
