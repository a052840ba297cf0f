"""An interface with one address of this machine that belongs to no network.

MetaServer listens on it (KubeEdge: `edge-dummy0`, 169.254.30.10): pods with a network of their own reach it through
their gateway, and no other machine does, since link-local addresses are not routed. It is a bridge without ports, which
every machine with a container network can make; one of that name that is there already, such as KubeEdge's, is used.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
from pathlib import Path

NAME = "edge-dummy0"
"""KubeEdge's name."""
_MAKE, _REMOVE = 0x89A0, 0x89A1
_GET_FLAGS, _SET_FLAGS, _SET_ADDRESS, _SET_MASK = 0x8913, 0x8914, 0x8916, 0x891C
_UP = 1


def is_link_local(host: str) -> bool:
    """Whether the address is one that no network of this machine has, so that it needs an interface of its own."""
    return host.startswith("169.254.")


def ensure(host: str, name: str = NAME) -> None:
    """Make the interface unless it is there, and give it the address. Raises `OSError`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        with contextlib.suppress(FileExistsError):
            fcntl.ioctl(control, _MAKE, name.encode() + b"\0")
        fcntl.ioctl(control, _SET_ADDRESS, _request(name, _address(host)))
        fcntl.ioctl(control, _SET_MASK, _request(name, _address("255.255.255.255")))
        _switch(control, name, up=True)


def remove(name: str = NAME) -> None:
    """Take it away; one that is not there, or no bridge and so not ours, is left. Raises `OSError`."""
    if not Path(f"/sys/class/net/{name}/bridge").exists():
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _switch(control, name, up=False)
        fcntl.ioctl(control, _REMOVE, name.encode() + b"\0")


def _switch(control: socket.socket, name: str, *, up: bool) -> None:
    known = fcntl.ioctl(control, _GET_FLAGS, _request(name, bytes(16)))
    flags = struct.unpack_from("H", known, 16)[0]
    flags = flags | _UP if up else flags & ~_UP
    fcntl.ioctl(control, _SET_FLAGS, _request(name, struct.pack("H14x", flags)))


def _request(name: str, data: bytes) -> bytes:
    return struct.pack("16s16s8x", name.encode(), data)


def _address(host: str) -> bytes:
    return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(host))
