"""The address by which others reach this machine."""

from __future__ import annotations

import socket


def local_ip() -> str:
    """The IP of the default route's interface; loopback when there is no route. Sends nothing."""
    for family, far_away in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((far_away, 9))
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return "127.0.0.1"
