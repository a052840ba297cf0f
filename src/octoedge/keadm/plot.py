"""Curves of numbers over time, without a library: in a terminal by braille dots, or as SVG. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

Points = Sequence[tuple[int, float]]
"""(ms since the epoch, value), in the order of time."""

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille sign by row and column."""
_BRAILLE = 0x2800
_SWITCH = {"true": 1.0, "false": 0.0}
_WIDTH, _HEIGHT, _LEFT, _TOP = 800, 300, 70, 40
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
    low, high = _range(given)
    labels = [_label(high), _label(low)]
    margin = max(map(len, labels)) + 1
    columns, rows = max(10, width - margin - 1), max(4, height)
    begin, end = given[0][0], given[-1][0]
    signs = [[0] * columns for _ in range(rows)]
    before: tuple[int, int] | None = None
    for time, value in given:
        x = round((time - begin) / max(1, end - begin) * (columns * 2 - 1))
        y = round((high - value) / (high - low) * (rows * 4 - 1))
        for at, line in _line(before, (x, y)):
            signs[line // 4][at // 2] |= _DOTS[line % 4][at % 2]
        before = (x, y)
    lines = [f"{'':<{margin}} {title}, {len(given)} values"]
    for number, row in enumerate(signs):
        label = labels[0] if number == 0 else labels[1] if number == rows - 1 else ""
        lines.append(f"{label:>{margin}}┤{''.join(chr(_BRAILLE + sign) for sign in row)}")
    first, last = _moment(begin), _moment(end)
    lines.append(f"{'':<{margin}} {first}{last:>{max(1, columns - len(first))}}")
    return "\n".join(lines)


def svg(given: Points, title: str) -> str:
    """A picture that any browser shows."""
    low, high = _range(given)
    begin, end = given[0][0], given[-1][0]

    def place(time: int, value: float) -> str:
        x = _LEFT + (time - begin) / max(1, end - begin) * _WIDTH
        return f"{x:.1f},{_y(value, low, high):.1f}"

    curve = " ".join(place(time, value) for time, value in _thinned(given))
    grid = "".join(_grid(low + (high - low) * part / 4, low, high) for part in range(5))
    bottom = _TOP + _HEIGHT + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH + _LEFT + 20} {_HEIGHT + _TOP + 40}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{_LEFT}" y="24" font-size="16">{escape(title)}</text>{grid}'
        f'<polyline points="{curve}" fill="none" stroke="#0072b2" stroke-width="1.5"/>'
        f'<text x="{_LEFT}" y="{bottom}">{_moment(begin)}</text>'
        f'<text x="{_LEFT + _WIDTH}" y="{bottom}" text-anchor="end">{_moment(end)}</text></svg>\n'
    )


def _grid(value: float, low: float, high: float) -> str:
    y = _y(value, low, high)
    return (
        f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_label(value)}</text>'
    )


def _y(value: float, low: float, high: float) -> float:
    return _TOP + (high - value) / (high - low) * _HEIGHT


def _range(given: Points) -> tuple[float, float]:
    """Lowest and highest, apart from each other."""
    low, high = min(value for _, value in given), max(value for _, value in given)
    return (low, high) if high > low else (low - 1, high + 1)


def _thinned(given: Points) -> Points:
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


def _label(value: float) -> str:
    return f"{value:.6g}"


def _moment(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
