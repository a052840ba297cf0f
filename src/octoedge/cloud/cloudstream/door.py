"""Who may open a tunnel at 10004, and what holds for it (KubeEdge's path and headers; mutual TLS).

A tunnel's messages are bytes in text frames; a binary frame ends the tunnel, as on the Go side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from octoedge.protocol.handshake import certificate_name
from octoedge.protocol.tunnel import (
    AGREEMENT,
    LOG_ENDS,
    MAX_MESSAGE,
    NODE_HEADER,
    NOTICED_SECONDS,
    PATH,
    PINGS,
    RARELY,
    VERSION,
)
from octoedge.transport.connection import Peer
from octoedge.transport.websocket_server import Door, Refusal

SILENCE_SECONDS = 15.0
"""Go edges ping every 5 s; one that missed three has lost its link. Ours ping rarely: `pings_rarely`."""


def tunnel_door(log_bytes: int = 0, refuses: Callable[[Peer], str] = lambda _: "") -> Door:
    """The door of 10004; `log_bytes` of each container's log are wanted from our edges.

    `refuses` gives a reason against a node's certificate that TLS and headers do not know, or nothing.
    """

    def answer_headers(peer: Peer) -> Mapping[str, str]:
        if peer.headers.get(AGREEMENT.lower()) != VERSION:
            return {}
        answer = {AGREEMENT: VERSION, **({LOG_ENDS: str(log_bytes)} if log_bytes else {})}
        return answer | ({PINGS: f"{RARELY:g}"} if pings_rarely(peer) else {})

    def check(request: web.BaseRequest, peer: Peer) -> Refusal | None:
        refusal = _check(request, peer)
        why = "" if refusal is not None else refuses(peer)
        return Refusal(403, why) if why else refusal

    return Door(NODE_HEADER, check, answer_headers, MAX_MESSAGE, text_only=True, silence=_silence)


def pings_rarely(peer: Peer) -> bool:
    """Whether this edge of ours says that it pings every `RARELY` seconds only."""
    return peer.headers.get(PINGS.lower()) == f"{RARELY:g}"


def _silence(peer: Peer) -> float:
    return NOTICED_SECONDS if pings_rarely(peer) else SILENCE_SECONDS


def _check(request: web.BaseRequest, peer: Peer) -> Refusal | None:
    if request.path.rstrip("/") != PATH:
        return Refusal(404, f"this port serves the tunnel of EdgeStream at {PATH} only")
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return Refusal(400, "the tunnel of EdgeStream is a WebSocket")
    if not peer.node or len(peer.node) > 253:
        return Refusal(403, f"header {NODE_HEADER} must name the node")
    if peer.certificate_name != certificate_name(peer.node):
        why = (
            f"the certificate is of {peer.certificate_name or 'nobody'}, but header {NODE_HEADER} says {peer.node}; "
            "a node may only connect under the name that its certificate was issued for"
        )
        return Refusal(403, why)
    return None
