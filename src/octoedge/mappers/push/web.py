"""One request to a web server, and what its answer means: taken, not now, or never."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

from octoedge.errors import TransportError, ValueRefused

SECONDS = 10.0
"""Deadline of one request."""
_MAX_ANSWER = 1 << 16
_REFUSALS = frozenset({400, 409, 413, 415, 422})
"""Statuses that are about the values, not about who sends them, where, or when."""


class Web:
    """Requests to one server, on kept connections."""

    def __init__(self, connections: int = 1) -> None:
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, shown: str) -> bytes:
        """What the server answers when it takes it. Raises `ValueRefused`, `TransportError`; `shown` stands for the
        URL, which may hold a password.

        A redirection is not followed: most turn a POST into a GET, which any server answers well and which stores
        nothing.
        """
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._connections)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=SECONDS), trust_env=False
            )
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                status, content = answer.status, b""
                while len(content) < _MAX_ANSWER and (more := await answer.content.read(_MAX_ANSWER - len(content))):
                    content += more
                if not answer.content.at_eof():
                    answer.close()
        except TimeoutError as error:
            raise TransportError(f"{shown} does not answer within {SECONDS:.0f} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise TransportError(f"{shown}: {str(error) or type(error).__name__}") from error
        if status < 300:
            return content
        text = f"{shown} answers {status} {content[:200].decode(errors='replace').strip()}".strip()
        if status in _REFUSALS:
            raise ValueRefused(text)
        raise TransportError(text)

    async def close(self) -> None:
        """End the connections."""
        if self._session is not None:
            await self._session.close()
