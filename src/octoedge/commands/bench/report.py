"""What is known as a table for people, as JSON for programs, and as the page of the documentation."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from octoedge.commands.bench.figures import FIGURES, LARGER_IS_BETTER, Figure
from octoedge.commands.bench.record import Record, Row
from octoedge.commands.bench.record import Samples as Samples

_HEAD = (
    "| figure | unit | median | min – max (n) | KubeEdge 1.23 | aim | | taken (UTC) |",
    "|---|---|---:|---|---:|---:|---|---|",
)


def table(rows: Mapping[str, Row]) -> str:
    """A Markdown table of every figure that was measured or failed: median, range, reference, aim."""
    lines = [_line(figure, rows[figure.key]) for figure in FIGURES if figure.key in rows]
    return "\n".join([*_HEAD, *lines])


def _line(figure: Figure, row: Row) -> str:
    middle = _number(median(row.samples)) if row.samples else "–"
    several = len(row.samples) > 1
    spread = f"{_number(min(row.samples))} – {_number(max(row.samples))} ({len(row.samples)})" if several else "–"
    cells = (
        figure.text, figure.unit, middle, spread, _known(figure.reference), _known(figure.aim), _verdict(figure, row),
        row.taken,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _known(value: float | None) -> str:
    return "–" if value is None else _number(value)


def _number(value: float) -> str:
    """Three digits that count, as people write them."""
    return f"{float(f'{value:.3g}'):,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _verdict(figure: Figure, row: Row) -> str:
    if row.failed:
        return f"failed: {row.failed}"
    if figure.aim is None:
        return ""
    return "met" if met(figure, median(row.samples)) else "missed"


def met(figure: Figure, value: float) -> bool:
    """Whether the value reaches the aim, if there is one."""
    if figure.aim is None:
        return True
    return value >= figure.aim if figure.key in LARGER_IS_BETTER else value <= figure.aim


def summary(rows: Mapping[str, Row], figures: Sequence[Figure] = FIGURES) -> str:
    """How many aims are met, and by name which are not, which failed, and which nobody has measured."""
    names = full_names(figures)
    aimed = [figure for figure in figures if figure.aim is not None]
    values = {figure.key: median(rows[figure.key].samples) for figure in figures if _has(rows, figure.key)}
    known = [figure for figure in aimed if figure.key in values]
    missed = [figure for figure in known if not met(figure, values[figure.key])]
    lines = [f"**{len(known) - len(missed)} of {len(aimed)} aims are met.**"]
    lines += _named(
        "Missed",
        (f"{names[one.key]}: {_quantity(values[one.key], one)} (aim: {_known(one.aim)})" for one in missed),
    )
    lines += _named("Failed", (names[figure.key] for figure in figures if rows.get(figure.key, Row()).failed))
    lines += _named("Not measured yet", (names[figure.key] for figure in figures if figure.key not in rows))
    return "\n".join(lines)


def _quantity(value: float, figure: Figure) -> str:
    return f"{_number(value)} {figure.unit}".rstrip()


def _has(rows: Mapping[str, Row], key: str) -> bool:
    return key in rows and bool(rows[key].samples)


def _named(title: str, texts: Iterable[str]) -> list[str]:
    listed = [f"* {text}" for text in texts]
    return ["", f"{title}:", "", *listed] if listed else []


def full_names(figures: Sequence[Figure] = FIGURES) -> dict[str, str]:
    """Each figure's name where it stands alone: `…` is what the line above it is about."""
    names: dict[str, str] = {}
    about = ""
    for figure in figures:
        if figure.text.startswith("… "):
            names[figure.key] = f"{about}: {figure.text[2:]}"
        else:
            about = figure.text.partition(": ")[0]
            names[figure.key] = figure.text
    return names


def as_json(samples: Samples) -> str:
    """Every sample, with the machine."""
    return json.dumps({"machine": machine(), "samples": samples}, indent=1)


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory.split()[1]) // 1024} MiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "architecture": platform.machine(),
    }


def page(record: Record) -> str:
    """The documentation's page."""
    about = ", ".join(f"{key} {value}" for key, value in record.machine.items())
    return (
        "# Benchmarks\n\n"
        "Written by `make bench`, and in part by `make bench ONLY=mappers`; every sample is in\n"
        f"[benchmarks.json](benchmarks.json). The machine: {about}.\n"
        "KubeEdge's figures were taken on a machine of the same size (two shared cores), not in the same run.\n\n"
        f"{summary(record.rows)}\n\n{table(record.rows)}\n"
    )
