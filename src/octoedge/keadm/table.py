"""Rows for a person: columns aligned, headings in capitals."""

from __future__ import annotations

from collections.abc import Sequence


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Headings and rows as text, columns three blanks apart."""
    lines = [tuple(heading.upper() for heading in headings), *(tuple(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "   ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def plain(text: str, most: int = 0) -> str:
    """What others wrote, as one line: control characters, by which a terminal is driven, are escaped; `most` cuts."""
    cut = text[:most] + "…" if most and len(text) > most else text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in cut)
