"""The kernel's table of mounts: which points of the file system something is mounted at, as this process sees it."""

from __future__ import annotations

import re
from pathlib import Path

_ESCAPED = re.compile(r"\\([0-7]{3})")


def mounted() -> list[str]:
    """All mount points; there are no links in them."""
    return points(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))


def points(table: str) -> list[str]:
    """The mount points of a text like /proc/self/mountinfo, where blanks and the like are written in octal."""
    lines = table.removesuffix("\n").split(
        "\n"
    )  # of all that `splitlines` takes for an end the kernel escapes this only
    return [_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), line.split(" ", 5)[4]) for line in lines]
