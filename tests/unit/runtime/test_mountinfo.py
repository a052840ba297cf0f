"""The kernel's table of mounts."""

from __future__ import annotations

from octoedge.runtime.mountinfo import mounted, points

TABLE = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
36 22 0:32 / /run/user\040data/a\134b rw,nosuid - tmpfs tmpfs rw,size=4k
37 36 0:33 /x /srv/grün rw - nfs4 nas:/x rw
"""


def test_blanks_and_backslashes_in_names_come_out_as_they_are() -> None:
    assert points(TABLE.replace("sda1", "sd\u2028a1").replace("grün", "gr\u2028n"))[-1] == "/srv/gr\u2028n"
    assert points(TABLE) == ["/", "/run/user data/a\\b", "/srv/grün"]


def test_this_process_has_some() -> None:
    assert "/" in mounted()
