"""What an EdgeCore on this machine says of itself on its status socket, and what of that a person is told.

ask(socket) → health → about_devices(health) → "MQTT tcp://… connected, 3 clients; 2 devices, mappers: modbus"
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from octoedge.errors import InstallError

Json = dict[str, Any]
_SECONDS = 3.0
_MAX_ANSWER = 8 << 20
_NAMES = 8


def ask(path: Path) -> Json:
    """Its health; `InstallError` when it does not answer, or this user may not ask."""
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(_SECONDS)
            asking.connect(str(path))
            while (part := asking.recv(65536)) and len(answer) < _MAX_ANSWER:
                answer += part
        return dict(json.loads(answer))
    except (OSError, ValueError) as error:
        raise InstallError(f"EdgeCore does not answer on {path}: {error}") from error


def about_devices(health: Json) -> str:
    """Brokers with their clients, devices, mappers, and what is wrong with them; empty on a node without."""
    parts = [_broker(side) for side in health.get("brokers") or ()]
    about = health.get("devices") or {}
    gone = dict.fromkeys(about.get("gone", ()), ", not running")
    known = sorted(about.get("mappers", {}).items())
    mappers = ", ".join(f"{protocol} ({name}{gone.get(protocol, '')})" for protocol, name in known)
    if about.get("devices") or mappers:
        parts.append(f"{about.get('devices', 0)} devices, " + (f"mappers: {mappers}" if mappers else "no mapper"))
    troubles = sorted(about.get("troubles", {}).items())
    if troubles:
        device, why = troubles[0]
        more = f", and {len(troubles) - 1} more" if len(troubles) > 1 else ""
        parts.append(f"{device}: {why}{more}")
    return "; ".join(parts)


def about_names(health: Json) -> str:
    """EdgeDNS: where it listens, what it knows and how old that is, or what is wrong with it."""
    about = health.get("names")
    if about is None:
        return "names (EdgeDNS) off" if "names" in health else ""
    if about.get("trouble"):
        return str(about["trouble"])
    where, age = ", ".join(about.get("listen") or ()), about.get("age")
    if age is None:
        known = "" if about.get("services") else ", nothing heard from the cloud yet"
        return f"names on {where}: {about.get('services')} Services{known}"
    old = f", as of {_span(age)} ago" if age else ""
    return f"names on {where}: {about.get('services')} Services{old}"


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def some(names: Sequence[str]) -> str:
    """Clients by name, as many as a line holds; nothing without any."""
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f" ({', '.join(names[:_NAMES])}{more})" if names else ""


def _broker(side: Json) -> str:
    if not side.get("connected"):
        return f"MQTT {side.get('broker')} not connected: {side.get('trouble')}"
    clients = f", {side['clients']} clients" if side.get("clients") else ""
    clients += some(side.get("names") or ())
    dropped = f", {side['dropped']} messages dropped" if side.get("dropped") else ""
    return f"MQTT {side.get('broker')} connected{clients}{dropped}"
