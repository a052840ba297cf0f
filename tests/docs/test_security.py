"""The threat model names a test for every boundary and everybody, and those tests exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()
BOUNDARIES = {"joining", "channel", "tunnel", "kubelet API", "API", "MetaServer", "devices", "node"}
ATTACKERS = (
    "Who has nothing but the network",
    "Who stole a join token",
    "Who stole a node's certificate",
    "A hostile pod",
    "A user of the machine",
    "A mapper",
    "The operator of the cloud",
)


def _section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _rows(section: str) -> list[list[str]]:
    """Cells of the table's rows, without its head."""
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def _named(text: str) -> Iterator[tuple[str, str]]:
    """(file below tests/, function or nothing); `::name` stands for the file named before it."""
    file = ""
    for path, name in re.findall(r"`([\w/]+\.py)?(?:::(test_\w+))?`", text):
        file = path.removeprefix("tests/") or file
        if path or name:
            yield file, name


@pytest.mark.parametrize("title", ATTACKERS)
def test_each_has_a_row_for_every_boundary_and_each_row_a_test(title: str) -> None:
    rows = _rows(_section(title))
    words = {word.strip().partition(" (")[0] for row in rows for word in row[0].split(",")}
    assert words >= BOUNDARIES, BOUNDARIES - words
    for row in rows:
        assert len(row) == 3, row
        assert list(_named(row[2])), f"no test is named for: {row[0]}"


def test_every_test_that_is_named_exists() -> None:
    named = list(_named(PAGE))
    assert len(named) > 60
    for file, name in named:
        path = ROOT / "tests" / file
        assert path.exists(), file
        if name:
            assert re.search(rf"^(async )?def {name}\(", path.read_text(), re.MULTILINE), f"{file}::{name}"
