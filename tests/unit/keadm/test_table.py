"""Rows for a person."""

from __future__ import annotations

from octoedge.keadm.table import plain, table


def test_columns_are_aligned_and_lines_end_without_blanks() -> None:
    assert table(("id", "used by"), [("a", ""), ("bbb", "edge-1")]) == "ID    USED BY\na\nbbb   edge-1"
    assert table(("id", "node"), []) == "ID   NODE"


def test_what_others_wrote_is_one_line_and_drives_no_terminal() -> None:
    assert plain("a\nb\x1b[31m\x00 21 °C 😀") == "a\\nb\\x1b[31m\\x00 21 °C 😀"
    assert plain("\ud800\u202e") == "\\ud800\\u202e"
    assert plain("x" * 300, 200) == "x" * 200 + "…"
