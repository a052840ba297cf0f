"""What an error says stands in sentences; some say nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "octoedge"


def doubted(tree: ast.AST) -> Iterator[int]:
    """Lines where a caught error itself is one side of an `or`."""
    for handler in ast.walk(tree):
        if isinstance(handler, ast.ExceptHandler) and handler.name:
            for node in ast.walk(handler):
                if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
                    names = [value.id for value in node.values[:-1] if isinstance(value, ast.Name)]
                    if handler.name in names:
                        yield node.lineno


def test_an_error_without_words_is_known_by_its_text() -> None:
    """A `TimeoutError` says nothing, but is no less true for that: `error or …` never says the other thing."""
    found = {str(file.relative_to(SOURCE)): [*doubted(ast.parse(file.read_text()))] for file in SOURCE.rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}, "write `str(error) or …`"
