"""Writing what others rely on."""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path, text: str) -> str:
    """Whole or not at all, and for the owner only: tokens and keys may be in it. Returns the path as text."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)
    return str(path)
