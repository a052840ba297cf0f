"""How a node and the cloud introduce themselves to each other, before the first message (spec: channel, 1.1 and 9).

The names of certificates, the paths of the HTTPS port 10002, and the headers of the WebSocket handshake at 10000.
Header names are as they are written; `Peer.headers` holds them in lower case, which those of our own are anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

NODES_GROUP = "system:nodes"
"""Organization in every node's certificate."""

CA_PATH = "/ca.crt"
"""GET: the CA's certificate, DER."""
CERTIFICATE_PATH = "/edge.crt"
"""GET with a signing request as body: a certificate, DER."""
NODE_NAME = "NodeName"
"""Header of `CERTIFICATE_PATH`: the node that the certificate is for."""

NODE = "node_id"
"""The node's name; must be that of its certificate."""
PROJECT = "project_id"
USE = "ConnectionUse"
USE_MESSAGES = "msg"
"""The only use that a connection may have."""

STORE = "octoedge-store"
"""By this header an edge of ours names its database; when the name changes, what was sent before is sent again."""
VERSION = "octoedge-version"
"""By this header of the answer a cloud of ours shows itself: then what a Go cloud leaves unanswered (events) is
answered too. Only who sent `STORE` gets it, so a Go edge never notices."""

FEATURES = "octoedge-speaks"
"""By this header an edge of ours names what it can beyond KubeEdge's protocol, a cloud of ours which of it holds."""
PACKED = "deflate"
"""Messages are packed, see `packing`."""
BEATS = "beats"
"""The cloud answers heartbeats: no ping is needed to know that it lives."""
LEASES = "leases"
"""The cloud renews the node's Lease at each heartbeat, by its own clock."""
ACKS = "acks"
"""Messages are numbered, and an acknowledgement may name many: `1-17,19`."""
DELTAS = "deltas"
"""Of an object whose last version the edge has confirmed, only what is new goes down, see `deltas`."""
TELEMETRY = "telemetry"
"""The cloud stores numbered values of device properties, see `telemetry`."""
KNOWN = frozenset({PACKED, BEATS, LEASES, ACKS, DELTAS, TELEMETRY})


def features(headers: Mapping[str, str]) -> frozenset[str]:
    """What the other end says in its headers that it can, and we can too."""
    return KNOWN.intersection(headers.get(FEATURES, "").split())


def speaks(wanted: Iterable[str]) -> str:
    """The value of the header `FEATURES`."""
    return " ".join(sorted(wanted))


def certificate_name(node: str) -> str:
    """The common name in the certificate of `node`."""
    return f"system:node:{node}"
