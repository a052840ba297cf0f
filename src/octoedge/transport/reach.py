"""A TCP connection to a host, by name or address, on links and with name servers that may be dead.

    name → `getaddrinfo` in threads of its own → addresses, one after the other → connected socket

`getaddrinfo` cannot be interrupted, waits half a minute for name servers that are gone, and does not see within one
call that they are others now: after some seconds it is asked anew beside, by daemon threads that hold up neither the
event loop, nor its thread pool, nor the program's end. A connection that is not there soon is given up rather than
waited for, because its packets come ever more rarely: who was cut off for half a minute would sit in a pause of the
kernel's.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from octoedge.errors import NameUnresolved
from octoedge.runtime.address import is_address

_MOST_LOOKING = 6
"""Threads at once that look for one name, those included that nobody waits for any more."""
_MOST_ADDRESSES = 8

Found = Sequence[tuple[int, tuple[Any, ...]]]
"""(address family, address as sockets take it)."""
Look = Callable[[str, int], Found]
"""Blocks; raises `OSError`."""


class Patience(msgspec.Struct, frozen=True):
    """How long what is waited for, in seconds."""

    name: float = 25.0
    """For a name's addresses."""
    again: float = 3.0
    """A name server that has not answered by then is asked anew beside."""
    connect: float = 5.0
    """For one address; the kernel has asked three times by then."""


_USUAL = Patience()


def look_up(host: str, port: int) -> Found:
    """The addresses of a name, as the machine's resolver says."""
    # As bytes a name is not run through the IDNA codec, whose tables (1 MiB) would stay in memory for good.
    name = host.encode() if host.isascii() else host
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{host!r} can be no name: {error}") from error
    return [(family, address) for family, _, _, _, address in found]


async def reach(host: str, port: int, look: Look = look_up, patience: Patience = _USUAL) -> socket.socket:
    """A connected socket; raises `NameUnresolved`, or the `OSError` of the last address that was tried."""
    found = look_up(host, port) if is_address(host) else await _addresses(host, port, look, patience)
    last = OSError(f"{host} has no address")
    for family, address in found[:_MOST_ADDRESSES]:
        try:
            return await _connected(family, address, patience.connect)
        except OSError as error:
            last = error
    raise last


async def _connected(family: int, address: tuple[Any, ...], seconds: float) -> socket.socket:
    # With the protocol named, for asyncio switches Nagle's waiting off only then.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setblocking(False)
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(made, address)
    except TimeoutError as error:
        made.close()
        raise OSError(f"{address[0]} port {address[1]} did not answer within {seconds:g} s") from error
    except BaseException:
        made.close()
        raise
    return made


async def _addresses(host: str, port: int, look: Look, patience: Patience) -> Found:
    answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
    try:
        async with asyncio.timeout(patience.name):
            while True:
                _begin(host, functools.partial(look, host, port), answer)
                done, _ = await asyncio.wait([answer], timeout=patience.again)
                if done:
                    return answer.result()
    except TimeoutError:
        why = f"no name server answered within {patience.name:g} s"
    except OSError as error:
        why = error.strerror or str(error)
    finally:
        answer.cancel()
    raise NameUnresolved(
        f"the name {host} cannot be resolved ({why}); are the name servers in /etc/resolv.conf reachable?"
    )


def _begin(host: str, look: Callable[[], Found], answer: asyncio.Future[Found]) -> None:
    """Look in a thread; the first that has an answer gives it."""
    name = f"address of {host}"
    if sum(thread.name == name for thread in threading.enumerate()) >= _MOST_LOOKING:
        return
    loop = asyncio.get_running_loop()

    def found() -> None:
        result: Found | OSError
        try:
            result = look()
        except OSError as error:
            result = error
        with contextlib.suppress(RuntimeError):  # the event loop has ended meanwhile
            loop.call_soon_threadsafe(_give, answer, result)

    threading.Thread(target=found, name=name, daemon=True).start()


def _give(answer: asyncio.Future[Found], result: Found | OSError) -> None:
    if answer.done():
        return
    if isinstance(result, OSError):
        answer.set_exception(result)
    else:
        answer.set_result(result)
