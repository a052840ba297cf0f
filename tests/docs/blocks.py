"""The command blocks of a page: each fence of `sh` or `yaml`, with the note that stands before it.

A note is an HTML comment `<!-- run: e2e -->` (the installation of the page, as root) or `<!-- run: anywhere -->`. A
block without a note is not run: it must be shown to be right in another way, and the tests list those.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"(?:<!-- run: (?P<how>[a-z0-9]+) -->\n)?```(?P<language>[a-z]+)\n(?P<text>.*?)```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One fence of a page."""

    page: str
    how: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Every block of shell commands on a page, in order."""
    found = FENCE.finditer(page.read_text())
    return [Block(page.name, match["how"] or "", match["text"]) for match in found if match["language"] == "sh"]
