"""Prints docs/reference/podspec.md: `python tools/podspec.py > docs/reference/podspec.md`.

Kubernetes' fields come from the API server's table, what becomes of each from the views that edged decodes.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from octoedge.api.core import PodSpec
from octoedge.apiserver.schema.schema import Definition, Schema
from octoedge.edge.edged.unsupported import ELSEWHERE, element, fields, reason

HEAD = """# Every field of a Pod's spec, and what an edge node does with it

Generated from the code by `tools/podspec.py`; a test fails when this page is behind.

A field is **supported**, or **left aside** where that is right (the reason is given), or it **refuses the pod**: before
anything is started, with the reason in the pod's status and in an event. Nothing is ignored without a word. An
ephemeral container with a refused field is refused alone; its pod goes on.

`initContainers` and `ephemeralContainers` have the fields of `containers`.

| field | what becomes of it |
|---|---|"""
_SAME = ("spec.initContainers[]", "spec.ephemeralContainers[]")


def page() -> str:
    """The whole page."""
    schema = Schema.load()
    rows = _rows(schema, schema["core.v1.PodSpec"], PodSpec, "spec")
    return "\n".join([HEAD, *(f"| `{path}` | {what} |" for path, what in rows), ""])


def _rows(schema: Schema, definition: Definition, view: type[msgspec.Struct], path: str) -> Iterator[tuple[str, str]]:
    known = fields(view)
    for name, field in sorted(definition.fields.items()):
        here = f"{path}.{name}"
        if here in ELSEWHERE:
            yield here, f"left aside: {ELSEWHERE[here]}"
        elif name not in known:
            yield here, f"refuses the pod: {reason(here)}"
        else:
            listed = field.shape.startswith("[]")
            inner, kind = (f"{here}[]", element(known[name])) if listed else (here, known[name])
            yield here, "supported"
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and inner not in _SAME:
                yield from _rows(schema, schema[field.type], kind, inner)


if __name__ == "__main__":
    print(page(), end="")
