"""additionalPrinterColumns: JSONPaths as functions from an object to what stands in a cell."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from octoedge.apiserver.printing.cells import AGE, NAME, Cell, Column, age

Json = dict[str, Any]
Find = Callable[[Any], Iterator[Any]]

_TOKEN = re.compile(
    r"""\.\.|\.(?P<name>(?:\\.|[^.\[\]\\])+)|\['(?P<quoted>(?:\\.|[^'\\])*)'\]|\["(?P<double>(?:\\.|[^"\\])*)"\]"""
    r"""|\[(?P<index>-?\d{1,9})\]|\[\*\]|\[\?\(@(?P<path>(?:\.[\w-]+)+)\s*(?P<sign>==|!=)\s*"""
    r"""(?P<value>"[^"]*"|'[^']*'|-?\d+(?:\.\d+)?|true|false)\)\]"""
)
_MAX_FOUND = 1000


class PathError(ValueError):
    """Not a JSONPath that can be used here."""


def columns(rows: Iterable[Json]) -> tuple[Column, ...]:
    """The columns of a kind; NAME always is the first, AGE comes when there are no others."""
    own = tuple(
        Column(
            row["name"], cell(row["jsonPath"], row["type"]), row["type"], row.get("format", ""), row.get("priority", 0)
        )
        for row in rows
    )
    return (NAME, *own) if own else (NAME, AGE)


def cell(path: str, kind: str) -> Cell:
    """The function that finds a path's first value and writes it as `kind`."""
    find, write = compile_path(path), _WRITERS.get(kind, _text)

    def made(obj: Json, now: float) -> Any:
        found = next(find(obj), None)
        return None if found is None else write(found, now)

    return made


def compile_path(path: str) -> Find:
    """A simple JSONPath (`.spec.list[0].name`, `.status.conditions[?(@.type=="Ready")].status`) as a function."""
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    steps: list[Find] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or found[0] == "..":
            raise PathError(f"{path}: this part cannot be read: {text[at : at + 50]}")
        steps.append(_step(found))
        at = found.end()
    if not text.startswith((".", "[")):
        raise PathError(f"{path}: a path begins with a dot")

    def find(obj: Any) -> Iterator[Any]:
        values: list[Any] = [obj]
        for step in steps:
            values = [inner for value in values for inner in step(value)][:_MAX_FOUND]
        return iter(values)

    return find


def _step(found: re.Match[str]) -> Find:
    name = next((found[key] for key in ("name", "quoted", "double") if found[key] is not None), None)
    if name == "*" or found[0] == "[*]":
        return _all
    if name is not None:
        return _named(re.sub(r"\\(.)", r"\1", name))
    if found["index"] is not None:
        return _indexed(int(found["index"]))
    wanted = json.loads('"' + found["value"][1:-1] + '"' if found["value"][0] in "\"'" else found["value"])
    return _chosen(found["path"].strip(".").split("."), wanted, found["sign"] == "==")


def _all(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _named(name: str) -> Find:
    def find(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return find


def _indexed(index: int) -> Find:
    def find(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return find


def _chosen(path: list[str], wanted: Any, equal: bool) -> Find:
    def find(value: Any) -> Iterator[Any]:
        for item in value if isinstance(value, list) else ():
            found = item
            for key in path:
                found = found.get(key) if isinstance(found, dict) else None
            if (found == wanted) == equal:
                yield item

    return find


def _text(value: Any, _: float) -> Any:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _date(value: Any, now: float) -> Any:
    return age(value, now) if isinstance(value, str) else None


def _integer(value: Any, _: float) -> Any:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _number(value: Any, _: float) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _boolean(value: Any, _: float) -> Any:
    return value if isinstance(value, bool) else None


_WRITERS: dict[str, Callable[[Any, float], Any]] = {
    "boolean": _boolean,
    "date": _date,
    "integer": _integer,
    "number": _number,
    "string": _text,
}
COLUMN_TYPES = tuple(_WRITERS)
