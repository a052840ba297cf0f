"""Rows for a person."""

from __future__ import annotations

from octoedge.keadm.table import table


def test_columns_are_aligned_and_lines_end_without_blanks() -> None:
    assert table(("id", "used by"), [("a", ""), ("bbb", "edge-1")]) == "ID    USED BY\na\nbbb   edge-1"
    assert table(("id", "node"), []) == "ID   NODE"
