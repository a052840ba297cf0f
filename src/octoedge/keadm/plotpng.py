"""The picture of `keadm.plot` as PNG, drawn by Pillow (the extra `plot`). Pure.

Lines are drawn large and shrunk, which makes them smooth; texts are set afterwards, in the font that Pillow carries.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from octoedge.errors import InstallError
from octoedge.keadm.plot import (
    CURVE,
    GRID,
    HEIGHT,
    LEFT,
    PAGE,
    TOP,
    WIDTH,
    Points,
    grid_of,
    height_of,
    number_text,
    span,
    thinned,
    time_text,
)

if TYPE_CHECKING:
    from PIL import Image

_FINE = 2
"""Dots of the picture for one of the SVG's, so that it is sharp on today's screens."""
_LARGE = 2 * _FINE
"""… while lines are drawn."""


def png(given: Points, title: str) -> bytes:
    """The curve as a PNG file. Raises `InstallError` when Pillow is not there."""
    try:
        from PIL import Image
    except ImportError as error:
        raise InstallError(
            f"a PNG needs a package that is not installed ({error}); `pip install 'octoedge[plot]'`, or ask for a "
            ".svg, which needs none"
        ) from error
    lines = Image.new("RGB", (PAGE[0] * _LARGE, PAGE[1] * _LARGE), "white")
    _draw(lines, given)
    picture = lines.resize((PAGE[0] * _FINE, PAGE[1] * _FINE), Image.Resampling.BOX)
    _write(picture, given, title)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def _draw(lines: Image.Image, given: Points) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(lines)
    low, high = span(given)
    begin, end = given[0][0], given[-1][0]
    for value in grid_of(low, high):
        y = height_of(value, low, high) * _LARGE
        draw.line([(LEFT * _LARGE, y), ((LEFT + WIDTH) * _LARGE, y)], fill=GRID, width=_LARGE)
    curve = [
        ((LEFT + (time - begin) / max(1, end - begin) * WIDTH) * _LARGE, height_of(value, low, high) * _LARGE)
        for time, value in thinned(given)
    ]
    draw.line(curve, fill=CURVE, width=_LARGE * 3 // 2, joint="curve")
    x, y = curve[-1]
    draw.ellipse([x - _LARGE, y - _LARGE, x + _LARGE, y + _LARGE], fill=CURVE)  # one value alone has no line


def _write(picture: Image.Image, given: Points, title: str) -> None:
    from PIL import ImageDraw, ImageFont

    draw = ImageDraw.Draw(picture)
    low, high = span(given)
    bottom = TOP + HEIGHT + 20
    texts = [
        (LEFT, 24, title.replace("\n", " "), 16, "ls"),
        (LEFT, bottom, time_text(given[0][0]), 12, "ls"),
        (LEFT + WIDTH, bottom, time_text(given[-1][0]), 12, "rs"),
        *((LEFT - 8, height_of(value, low, high), number_text(value), 12, "rm") for value in grid_of(low, high)),
    ]
    for x, y, text, size, anchor in texts:
        font = ImageFont.load_default(size * _FINE)
        draw.text((x * _FINE, y * _FINE), text, fill="black", font=font, anchor=anchor)
