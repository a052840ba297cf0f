"""What of a node's configuration tells telemetry where values wait, and for how long."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Settings(msgspec.Struct, frozen=True):
    """Where values wait, how many, and for how long."""

    path: Path
    max_bytes: int = 64 << 20
    max_seconds: float = 30 * 86400.0
    drop_first: tuple[str, ...] = ()
    """Patterns of streams (`namespace/device/property`): in this order their oldest go first, then all others'."""
    gather_seconds: float = 5.0
    """How long values are gathered before they are sent."""
