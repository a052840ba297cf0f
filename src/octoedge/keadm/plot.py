"""Curves of numbers over time, without a library: in a terminal by braille dots, or as SVG. Pure.

The same picture as PNG is drawn by `keadm.plotpng`, which needs a library.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

Points = Sequence[tuple[int, float]]
"""(ms since the epoch, value), in the order of time."""

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille sign by row and column."""
_BRAILLE = 0x2800
_SWITCH = {"true": 1.0, "false": 0.0}
WIDTH, HEIGHT, LEFT, TOP = 800, 300, 70, 40
"""Of the field with the curve; around it are title, numbers and times."""
PAGE = (WIDTH + LEFT + 20, HEIGHT + TOP + 40)
GRID, CURVE = "#ddd", "#0072b2"
_MOST = 4000
"""Points of an SVG; more are drawn as the lowest and highest of their neighbours."""


def points(times: Sequence[int], texts: Sequence[str]) -> Points:
    """The values that are numbers; true and false count as 1 and 0."""
    found: list[tuple[int, float]] = []
    for time, text in zip(times, texts, strict=True):
        try:
            number = _SWITCH[text] if text in _SWITCH else float(text)
        except ValueError:
            continue
        if math.isfinite(number):
            found.append((time, number))
    return found


def braille(given: Points, title: str, width: int, height: int) -> str:
    """A chart of so many columns and lines of text, at least a few."""
    low, high = span(given)
    labels = [number_text(high), number_text(low)]
    margin = max(map(len, labels)) + 1
    columns, rows = max(10, width - margin - 1), max(4, height)
    begin, end = given[0][0], given[-1][0]
    signs = [[0] * columns for _ in range(rows)]
    before: tuple[int, int] | None = None
    for time, value in given:
        x = round((time - begin) / max(1, end - begin) * (columns * 2 - 1))
        y = round(_fall(value, low, high) * (rows * 4 - 1))
        for at, line in _line(before, (x, y)):
            signs[line // 4][at // 2] |= _DOTS[line % 4][at % 2]
        before = (x, y)
    lines = [_cut(f"{'':<{margin}} {title}, {len(given)} values", margin + 1 + columns)]
    for number, row in enumerate(signs):
        label = labels[0] if number == 0 else labels[1] if number == rows - 1 else ""
        lines.append(f"{label:>{margin}}┤{''.join(chr(_BRAILLE + sign) for sign in row)}")
    lines += [f"{'':<{margin}} {line}" for line in _times(time_text(begin), time_text(end), columns)]
    return "\n".join(lines)


def _times(first: str, last: str, columns: int) -> list[str]:
    """Below the field, at its two ends; one below the other where it is too narrow for both."""
    if len(first) + len(last) < columns:
        return [f"{first}{last:>{columns - len(first)}}"]
    return [first, f"{last:>{columns}}"]


def _cut(text: str, columns: int) -> str:
    return text if len(text) <= columns else f"{text[: columns - 1]}…"


def svg(given: Points, title: str) -> str:
    """A picture that any browser shows."""
    low, high = span(given)
    begin, end = given[0][0], given[-1][0]

    def place(time: int, value: float) -> str:
        x = LEFT + (time - begin) / max(1, end - begin) * WIDTH
        return f"{x:.1f},{height_of(value, low, high):.1f}"

    curve = " ".join(place(time, value) for time, value in thinned(given))
    grid = "".join(_grid(value, low, high) for value in grid_of(low, high))
    bottom = TOP + HEIGHT + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {PAGE[0]} {PAGE[1]}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{LEFT}" y="24" font-size="16">{escape(title)}</text>{grid}'
        f'<polyline points="{curve}" fill="none" stroke="{CURVE}" stroke-width="1.5"/>'
        f'<text x="{LEFT}" y="{bottom}">{time_text(begin)}</text>'
        f'<text x="{LEFT + WIDTH}" y="{bottom}" text-anchor="end">{time_text(end)}</text></svg>\n'
    )


def _grid(value: float, low: float, high: float) -> str:
    y = height_of(value, low, high)
    return (
        f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>'
        f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number_text(value)}</text>'
    )


def grid_of(low: float, high: float) -> list[float]:
    """The values that have a line across the field."""
    return [low / 4 * (4 - part) + high / 4 * part for part in range(5)]


def height_of(value: float, low: float, high: float) -> float:
    """Where a value is, from the top of the page."""
    return TOP + _fall(value, low, high) * HEIGHT


def _fall(value: float, low: float, high: float) -> float:
    """How far below the highest it is, 0 to 1; of halves, because all of it may be more than a float holds."""
    if math.isinf(high - low):
        value, low, high = value / 2, low / 2, high / 2
    return (high - value) / (high - low)


def span(given: Points) -> tuple[float, float]:
    """Lowest and highest, apart from each other."""
    low, high = min(value for _, value in given), max(value for _, value in given)
    if high > low:
        return low, high
    room = min(max(1.0, abs(high) / 1000), sys.float_info.max / 2)  # beside 2⁵³ and more, 1 is nothing
    return max(low - room, -sys.float_info.max), min(high + room, sys.float_info.max)


def thinned(given: Points) -> Points:
    """As many points as a picture can show, the extremes among them."""
    if len(given) <= _MOST:
        return given
    step = math.ceil(len(given) / (_MOST // 2))
    found: list[tuple[int, float]] = []
    for at in range(0, len(given), step):
        some = given[at : at + step]
        found += sorted({min(some, key=lambda point: point[1]), max(some, key=lambda point: point[1])})
    return found


def _line(before: tuple[int, int] | None, to: tuple[int, int]) -> list[tuple[int, int]]:
    """The dots from one to the other."""
    if before is None:
        return [to]
    steps = max(abs(to[0] - before[0]), abs(to[1] - before[1]), 1)
    return [
        (before[0] + round((to[0] - before[0]) * step / steps), before[1] + round((to[1] - before[1]) * step / steps))
        for step in range(1, steps + 1)
    ]


def number_text(value: float) -> str:
    """As it stands beside the field."""
    return f"{value:.6g}"


def time_text(time: int) -> str:
    """As it stands below the field."""
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
