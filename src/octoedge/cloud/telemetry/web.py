"""One request to another system's web door, and what its answer means: taken, not now, or never."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import aiohttp

from octoedge.errors import TransportError

_SECONDS = 30.0
_MAX_ANSWER = 2048
_REFUSALS = frozenset({400, 409, 413, 415, 422})
"""Statuses that are about the values, not about who sends them or when."""
_LONGEST_WAIT = 900.0


class Refused(TransportError):
    """The other system does not take these values, whatever comes after them."""


class NotNow(TransportError):
    """The other system wants to be left alone for `seconds`."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text)
        self.seconds = seconds


async def post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Return when it is taken. Raises `Refused`, `NotNow`, or another `TransportError`.

    A redirection is not followed: most turn a POST into a GET, which any server answers well and which stores nothing.
    """
    where = url.partition("?")[0]
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            status = answer.status
            if status < 300:
                return
            words = (await answer.content.read(_MAX_ANSWER)).decode(errors="replace").strip()
            asked = retry_after(answer.headers.get("Retry-After", ""), time.time())
    except TimeoutError as error:
        raise TransportError(f"{where} does not answer within {_SECONDS:.0f} s") from error
    except (aiohttp.ClientError, ValueError) as error:  # a token with a line break is a ValueError
        raise TransportError(f"{where}: {error}") from error
    text = f"{where} answers {status} {words[:300]}".rstrip()
    if status in _REFUSALS:
        raise Refused(text)
    raise NotNow(text, asked)


def retry_after(text: str, now: float) -> float:
    """Seconds to wait by a header Retry-After (a number, or a date), at most a quarter of an hour; 0 without one."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:10]), _LONGEST_WAIT)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, min(date.timestamp() - now, _LONGEST_WAIT))
