"""Bytes ⇄ messages (spec: channel, section 1.3: one JSON document in one WebSocket message).

Decoding is strict about what carries meaning and tolerant about the rest: unknown fields are ignored, missing optional
ones are empty, trailing white space is accepted.
"""

from __future__ import annotations

import msgspec

from octoedge.errors import MessageError
from octoedge.protocol.message import Message

MAX_BYTES = 32 * 1024 * 1024
"""Largest message in bytes, either way; the Go side's packed form has the same limit (spec: channel, section 13)."""

_decoder = msgspec.json.Decoder(Message)
_encoder = msgspec.json.Encoder()


def decode(data: bytes) -> Message:
    """The message in `data`; `MessageError` says what is wrong with it."""
    if len(data) > MAX_BYTES:
        raise MessageError(f"a message of {len(data)} bytes is larger than the limit of {MAX_BYTES}")
    if not data.isascii():
        _check_text(data)
    try:
        message = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"not a KubeEdge message: {error}") from error
    version = message.header.resourceversion
    if version and not (version.isascii() and version.isdigit() and len(version) <= 20):
        raise MessageError(f"resourceversion {version[:40]!r} is not a decimal number")
    return message


def _check_text(data: bytes) -> None:
    """The decoder passes over `content` without looking into its strings; whoever reads it later relies on UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise MessageError(f"not a KubeEdge message: {error.reason} at byte {error.start}: not UTF-8") from error


def encode(message: Message) -> bytes:
    """The bytes of `message`, with the trailing newline that the Go side writes."""
    return _encoder.encode(message) + b"\n"
