"""Cut a connection off at once."""

from __future__ import annotations

import asyncio
import contextlib


def abort(writer: asyncio.StreamWriter) -> None:
    """Cut it off, whatever has become of it.

    TLS of Python before 3.11.5 breaks with `AttributeError` when a connection that the peer has reset was closed here
    too: then there is nothing left to cut off.
    """
    with contextlib.suppress(AttributeError):
        writer.transport.abort()
