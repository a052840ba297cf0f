"""Writing what others rely on."""

from __future__ import annotations

from pathlib import Path

from octoedge.store import durable


def write(path: Path, text: str) -> str:
    """Whole or not at all, and for the owner only: tokens and keys may be in it. Returns the path as text."""
    durable.write(path, text.encode())
    return str(path)
