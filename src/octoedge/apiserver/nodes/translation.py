"""What clients say in WebSocket messages, and what nodes say in SPDY/3.1: one turned into the other, without I/O.

`v5.channel.k8s.io` (exec, attach): the first byte of a message is its channel: 0 stdin, 1 stdout, 2 stderr, 3 the
outcome as metav1.Status, 4 the terminal's size; 255 closes the channel that the second byte names. Nodes know
channels as SPDY streams, and only in SPDY can stdin be closed while output goes on.

`SPDY/3.1+portforward.k8s.io`: the messages are the bytes of a SPDY connection, cut anywhere.
"""

from __future__ import annotations

from typing import Protocol

from octoedge.errors import ApiError
from octoedge.transport.outcome import outcome
from octoedge.transport.spdy import Data, Framer, Ping, Reset

COMMAND = "v5.channel.k8s.io"
PORT_FORWARD = "SPDY/3.1+portforward.k8s.io"

_STDIN, _STDOUT, _STDERR, _OUTCOME, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_NAMES = {_OUTCOME: "error", _STDIN: "stdin", _STDOUT: "stdout", _STDERR: "stderr", _RESIZE: "resize"}


class Translation(Protocol):
    """One conversation."""

    @property
    def over(self) -> bool:
        """Whether everything has been said."""
        ...

    def begin(self) -> bytes:
        """What the node is told first."""
        ...

    def to_node(self, message: bytes) -> bytes:
        """A client's message."""
        ...

    def to_client(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Bytes of the node: (messages for the client, bytes that go back to the node)."""
        ...

    def broken(self, why: str) -> list[bytes]:
        """What the client is told when the node's connection ends: nothing if everything had been said."""
        ...


class Command:
    """The streams of one exec or attach."""

    def __init__(self, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> None:
        wanted = {_OUTCOME: True, _STDIN: stdin, _STDOUT: stdout, _STDERR: stderr and not tty, _RESIZE: tty}
        self._framer = Framer()
        self._streams = {channel: 2 * at + 1 for at, channel in enumerate(c for c, want in wanted.items() if want)}
        self._channels = {stream: channel for channel, stream in self._streams.items()}
        self._open = {self._streams[c] for c in (_OUTCOME, _STDOUT, _STDERR) if c in self._streams}
        self._told = False
        """Whether the outcome was passed on."""

    @property
    def over(self) -> bool:
        """What closes the stream of the outcome may be lost with the connection, when a command leaves input unread."""
        told = {self._streams[_OUTCOME]} if self._told and not self._framer.within_data else set()
        return self._open <= told

    def begin(self) -> bytes:
        return b"".join(
            self._framer.syn_stream(stream, {"streamType": _NAMES[channel]})
            for channel, stream in self._streams.items()
        )

    def to_node(self, message: bytes) -> bytes:
        channel = message[0] if message else None
        if channel == _CLOSE and message[1:2] == bytes((_STDIN,)):
            stdin = self._streams.pop(_STDIN, None)
            return b"" if stdin is None else self._framer.data(stdin, b"", fin=True)
        stream = self._streams.get(channel) if channel in (_STDIN, _RESIZE) else None
        return b"" if stream is None or len(message) < 2 else self._framer.data(stream, message[1:])

    def to_client(self, data: bytes) -> tuple[list[bytes], bytes]:
        messages: list[bytes] = []
        back: list[bytes] = []
        for event in self._framer.feed(data):
            match event:
                case Data(stream, part, fin):
                    channel = self._channels.get(stream)
                    if part and channel in (_STDOUT, _STDERR, _OUTCOME):
                        messages.append(bytes((channel,)) + part)
                        self._told = self._told or channel == _OUTCOME
                    if fin:
                        self._open.discard(stream)
                case Reset(stream):
                    self._open.discard(stream)
                case Ping(number):
                    back.append(self._framer.ping(number))
        return messages, b"".join(back)

    def broken(self, why: str) -> list[bytes]:
        return [] if self._told else [bytes((_OUTCOME,)) + outcome(ApiError(500, "InternalError", why))]


class Tunnelled:
    """A port-forward: the client speaks SPDY with the node, we only carry it."""

    over = False

    def begin(self) -> bytes:
        return b""

    def to_node(self, message: bytes) -> bytes:
        return message

    def to_client(self, data: bytes) -> tuple[list[bytes], bytes]:
        return [data], b""

    def broken(self, why: str) -> list[bytes]:  # noqa: ARG002 - there is no way to say it
        return []
