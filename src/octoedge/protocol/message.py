"""The beehive message as it stands on the wire (spec: channel, section 2).

`content` stays the bytes it came in (`msgspec.Raw`); who needs it decodes the fields that a decision needs. Only the
route table turns these strings into typed payloads and back.
"""

from __future__ import annotations

import msgspec


class Header(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who this message is and what it answers."""

    msg_id: str
    """UUIDv4 text, unique per message."""
    parent_msg_id: str = ""
    """Id of the message that this one answers or acknowledges; empty when it is no answer."""
    timestamp: int = msgspec.field(default_factory=int)
    """Creation time in milliseconds since the Unix epoch; written even when 0, as Go does, hence the factory."""
    resourceversion: str = ""
    """Kubernetes resourceVersion of the object in `content`: a decimal number or empty."""
    sync: bool = False
    """Local marker of the Go side; absent on the wire in practice and never relied on."""
    type: str = ""
    """Local context type of the Go side; empty on the wire."""


class Route(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where this message comes from and what it is about."""

    source: str = ""
    destination: str = ""
    group: str = ""
    operation: str = ""
    resource: str = ""


class Message(msgspec.Struct, frozen=True):
    """One message: one WebSocket text message, one JSON document."""

    header: Header
    route: Route
    content: msgspec.Raw = msgspec.Raw(b"null")

    def data(self) -> bytes:
        """The content as JSON bytes: a string that holds a document is unwrapped (spec: channel, section 2.1).

        Patches and some device messages travel as a JSON string with JSON inside; both forms mean the same. A string
        such as `OK` that is no document stays the text itself.
        """
        raw = bytes(self.content)
        if raw[:1] == b'"':
            return str(msgspec.json.decode(raw, type=str)).encode()
        return raw
