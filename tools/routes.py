"""Prints docs/reference/routes.md from the route table: `python tools/routes.py > docs/reference/routes.md`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from octoedge.protocol.routes import ROWS, Confirm, Direction, Row

HEAD = """# The messages between cloud and edge, and what confirms each

Generated from `src/octoedge/protocol/routes.py` by `tools/routes.py`; a test fails when this page is behind.

A message that is **confirmed** is sent again until the confirmation comes: what goes down, by the delivery window of
the session and the checkpoints behind it; reports that go up, by the outbox in the edge's database. Where only the
socket confirms, a message that was on its way when the connection broke is lost. Answers and acknowledgements have no
row: they copy source, group and resource from what they answer, and carry its id.

| confirmed by | means |
|---|---|
| acknowledgement | the edge has it in its database and says so |
| reply | the cloud has carried it out (or refused it) and says so |
| observed effect | nothing is said; the sender looks whether it took effect |
| nothing but the socket | nothing is said |
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_section(Direction.DOWN), *_section(Direction.UP)])


def _section(direction: Direction) -> Iterator[str]:
    yield f"## {direction.value[0].upper()}{direction.value[1:]}\n"
    yield "| message | operation | resource | between two Octoedges | with a KubeEdge peer | what it says |"
    yield "|---|---|---|---|---|---|"
    for row in ROWS:
        if row.direction is direction:
            yield f"| {' | '.join(_cells(row))} |"
    yield ""


def _cells(row: Row) -> tuple[str, ...]:
    said = (inspect.getdoc(row.payload) or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    return (
        f"`{row.payload.__name__}`", f"{row.source} · {row.group} · `{row.operation}`", _resource(row),
        _confirmed(row.confirm), _confirmed(row.confirm_go), said,
    )  # fmt: skip


def _resource(row: Row) -> str:
    if row.paths:
        return f"`{row.paths[0]}`"
    return ", ".join(f"`{kind}`" for kind in sorted(row.types)) or "any type"


def _confirmed(how: Confirm) -> str:
    return how.value


if __name__ == "__main__":
    print(page(), end="")
