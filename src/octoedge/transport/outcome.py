"""How exec and attach end: with an outcome (metav1.Status) in the stream `error`, or with one that is made up here.

kubectl takes a connection that ends without an outcome for success. So whoever passes such a connection on, raw,
watches it; when it breaks off, the outcome that is missing is added. Nothing else is looked at, nothing is changed.
"""

from __future__ import annotations

import msgspec

from octoedge.errors import ApiError, ProtocolError
from octoedge.transport.spdy import Data, Framer, Reset

BROKEN = "the connection to the container has ended before the command did: the node may have gone away"

_V4 = b"\r\nx-stream-protocol-version: v4.channel.k8s.io"
"""In the node's answer: the outcome is a metav1.Status."""
_MAX_HEAD = 16 * 1024


class Watched:
    """Raw SPDY of an exec or attach, on its way from the node to the client: only watched for the outcome.

    kubectl takes a connection that ends without an outcome for success; `broken` says what is true.
    """

    _OUTCOME_STREAM = 1
    """Clients open the stream of the outcome first."""

    def __init__(self) -> None:
        self._framer: Framer | None = Framer()
        self._told = False

    def see(self, data: bytes) -> None:
        """Bytes that the client is given."""
        if self._framer is None or self._told:
            return
        try:
            for event in self._framer.feed(data):
                if isinstance(event, Data | Reset) and event.stream == self._OUTCOME_STREAM:
                    self._told = True
        except ProtocolError:
            self._framer = None  # the client will find that out itself

    def broken(self, why: str) -> bytes:
        """The last bytes for the client when the node's connection has ended; none if everything was said."""
        if self._told or self._framer is None or not self._framer.between_frames:
            return b""
        status = outcome(ApiError(500, "InternalError", why))
        return self._framer.data(self._OUTCOME_STREAM, status, fin=True)


class WatchedAnswer:
    """The whole of a node's answer, its HTTP head included: watched when it turns out to be an exec or attach."""

    def __init__(self) -> None:
        self._head: bytes | None = b""
        """As much of it as has come; None when it is complete, or none."""
        self._watched: Watched | None = None

    def see(self, data: bytes) -> None:
        """Bytes that the client is given."""
        if self._head is not None:
            data = self._begin(self._head + data)
        if self._watched is not None and data:
            self._watched.see(data)

    def broken(self, why: str) -> bytes:
        """The last bytes for the client when the node's connection has ended; none if everything was said."""
        return self._watched.broken(why) if self._watched is not None else b""

    def _begin(self, data: bytes) -> bytes:
        """What follows the head; nothing while that is incomplete."""
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            self._head = data if len(data) <= _MAX_HEAD else None
            return b""
        self._head = None
        if is_command(head):
            self._watched = Watched()
        return rest


def is_command(head: bytes) -> bool:
    """Whether an answer 101 begins an exec or attach whose outcome is a metav1.Status in SPDY."""
    return head.startswith(b"HTTP/1.1 101") and _V4 in head.lower()


def outcome(error: ApiError) -> bytes:
    """A failure as the stream `error`, and channel 3, tell it."""
    return msgspec.json.encode(error.status())
