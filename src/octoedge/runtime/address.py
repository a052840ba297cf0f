"""The address by which others reach this machine, and whether a request names one."""

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


def is_local(host: str) -> bool:
    """Whether a Host header names this machine by address, or as localhost, and not by somebody's name."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and not host.endswith("]") else host
    return name in ("", "localhost") or is_address(name.strip("[]"))


def is_address(text: str) -> bool:
    """Whether the text is an IP address."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False
