from __future__ import annotations

import io
import math
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from octoedge.keadm import plot, plotpng

LARGEST = sys.float_info.max
BLUE = (0, 114, 178)
DAY = [(second * 1000, 20 + 5 * math.sin(second / 9000)) for second in range(0, 86_400, 5)]


def picture(points: plot.Points, title: str = "thermometer temperature") -> Image.Image:
    opened = Image.open(io.BytesIO(plotpng.png(points, title)))
    assert opened.format == "PNG"
    return opened.convert("RGB")


def blue_rows(image: Image.Image, column: int) -> list[int]:
    return [row for row in range(image.height) if image.getpixel((column, row)) == BLUE]


def test_the_curve_is_where_the_values_are() -> None:
    image = picture([(0, 0.0), (1000, 10.0)])
    assert image.size == (plot.PAGE[0] * 2, plot.PAGE[1] * 2)
    middle = blue_rows(image, (plot.LEFT + plot.WIDTH // 2) * 2)
    assert abs(middle[len(middle) // 2] - (plot.TOP + plot.HEIGHT // 2) * 2) <= 2
    late = blue_rows(image, (plot.LEFT + plot.WIDTH * 3 // 4) * 2)
    assert abs(late[len(late) // 2] - (plot.TOP + plot.HEIGHT // 4) * 2) <= 2


@pytest.mark.parametrize(
    "points",
    [
        [(5, 1.0)], [(5, 3.0), (6, 3.0)], [(5, -1e300), (6, 1e300)], [(9, 1.0), (9, 2.0)], DAY,
        [(5, 2.0**60), (6, 2.0**60)], [(5, -LARGEST), (6, LARGEST)], [(5, LARGEST)], [(5, -LARGEST)],
    ],
)  # fmt: skip
def test_any_values_are_a_picture(points: plot.Points) -> None:
    found = picture(points, "ä 温度\n\N{THERMOMETER}")
    assert BLUE in {colour for _, colour in found.getcolors(1 << 24) or []}
    assert "nan" not in plot.svg(points, "")
    assert any("\N{BRAILLE PATTERN BLANK}" < sign <= "\u28ff" for sign in plot.braille(points, "", 40, 5))


@pytest.mark.parametrize("width", [26, 40, 47, 48, 49, 80, 200])
def test_a_narrow_terminal_has_no_line_that_is_too_long(width: int) -> None:
    lines = plot.braille([(0, 6.0), (60_000, 9.0)], "a-device-with-a-long-name temperature", width, 5).splitlines()
    assert max(map(len, lines)) <= width
    assert "\n".join(lines[6:]).split() == ["1970-01-01", "00:00:00Z", "1970-01-01", "00:01:00Z"]


def test_without_pillow_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "PIL").mkdir()
    (tmp_path / "PIL/__init__.py").write_text("raise ImportError('No module named PIL')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from octoedge.errors import InstallError\n"
        "from octoedge.keadm import plotpng\n"
        "try: plotpng.png([(0, 1.0)], 't')\n"
        "except InstallError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert "pip install 'octoedge[plot]'" in said.stdout
