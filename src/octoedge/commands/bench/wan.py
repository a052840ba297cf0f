"""A bad link in user space: every packet between a further node and its cloud passes through here, or does not.

    node's namespace  wan0 (.2) ── TUN ── this process: loss, delay, jitter ── TUN ── octowan (.1)  this machine

Only the way to the cloud's address leads through it (a route of the node's namespace, which is ours); the machine's own
settings stay as they are. Delays of single packets differ, so that they overtake each other as on a real network.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from octoedge.keadm import namespace
from octoedge.keadm.layout import Layout
from octoedge.keadm.processes import call

_THERE, _HERE = "wan0", "octowan"
_NETS = "198.18."
"""Of the addresses that are set apart for measuring."""
_FIRST = 7
_TUNSETIFF, _TUN, _NO_PACKET_INFORMATION = 0x400454CA, 0x0001, 0x1000
_AT_ONCE = 64
_MAX_PACKET = 65536


@dataclass(slots=True)
class Weather:
    """How the link is; seconds, one way."""

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0


class Wan:
    """The link of one node; make it with `wan()`."""

    def __init__(self, node: Layout, lane: int) -> None:
        self.weather = Weather()
        self._node = node
        self._here = f"{_HERE}{lane or ''}"
        self._net = f"{_NETS}{_FIRST + lane}."
        self._number = 2
        self._loop = asyncio.get_running_loop()
        self._ends: list[int] = []

    def lay(self) -> None:
        """Lead the node's packets to its cloud through here."""
        self._ends = [namespace.inside(self._node, lambda: _tun(_THERE)), _tun(self._here)]
        call(("ip", "address", "add", f"{self._net}1/24", "dev", self._here))
        call(("ip", "link", "set", self._here, "up"))
        self._there("address", "add", f"{self._net}{self._number}/32", "dev", _THERE)
        self._there("link", "set", _THERE, "up")
        self._lead()
        for source, target in (self._ends, self._ends[::-1]):
            self._loop.add_reader(source, self._pass, source, target)

    def move(self) -> None:
        """The node gets another address; the old one is gone at once."""
        old, self._number = self._number, self._number + 1
        self._there("address", "add", f"{self._net}{self._number}/32", "dev", _THERE)
        self._lead()
        self._there("address", "delete", f"{self._net}{old}/32", "dev", _THERE)
        self._lead()

    def take_away(self) -> None:
        """As it was; the interfaces go with their last file."""
        for end in self._ends:
            self._loop.remove_reader(end)
            os.close(end)

    def _lead(self) -> None:
        way = f"{self._node.cloud_address}/32"
        self._there("route", "replace", way, "dev", _THERE, "src", f"{self._net}{self._number}")

    def _there(self, *words: str) -> None:
        call(("ip", "-n", self._node.namespace, *words))

    def _pass(self, source: int, target: int) -> None:
        for _ in range(_AT_ONCE):
            try:
                packet = os.read(source, _MAX_PACKET)
            except OSError:
                return
            weather = self.weather
            if random.random() < weather.loss:  # noqa: S311 - weather, no secret
                continue
            wait = weather.delay + random.uniform(-weather.jitter, weather.jitter)  # noqa: S311
            if wait > 0:
                self._loop.call_later(wait, _write, target, packet)
            else:
                _write(target, packet)


@asynccontextmanager
async def wan(node: Layout, lane: int = 0) -> AsyncIterator[Wan]:
    """The link of a further node, good at first, through here until the end; a lane of its own where there are several
    on one machine."""
    made = Wan(node, lane)
    try:
        made.lay()
        yield made
    finally:
        made.take_away()


def _tun(name: str) -> int:
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH14x", name.encode(), _TUN | _NO_PACKET_INFORMATION))
    return end


def _write(target: int, packet: bytes) -> None:
    with contextlib.suppress(OSError):  # a link may lose a packet, and may be gone
        os.write(target, packet)
