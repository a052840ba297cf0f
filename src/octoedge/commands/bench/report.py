"""A run as a table for people, as JSON for programs, and as the page that keeps the last run."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from statistics import median

from octoedge.commands.bench.figures import FIGURES, LARGER_IS_BETTER, Figure

Samples = dict[str, list[float]]


def table(samples: Samples) -> str:
    """A Markdown table of every figure that was measured: median, range, reference, aim."""
    lines = ["| figure | unit | median | min – max (n) | KubeEdge 1.23 | aim | |", "|---|---|---:|---|---:|---:|---|"]
    for figure in FIGURES:
        values = samples.get(figure.key)
        if not values:
            continue
        middle = median(values)
        reference = "–" if figure.reference is None else f"{figure.reference:g}"
        aim = "–" if figure.aim is None else f"{figure.aim:g}"
        lines.append(
            f"| {figure.text} | {figure.unit} | {middle:.3g} | {min(values):.3g} – {max(values):.3g} ({len(values)}) "
            f"| {reference} | {aim} | {_verdict(figure, middle)} |"
        )
    return "\n".join(lines)


def _verdict(figure: Figure, value: float) -> str:
    if figure.aim is None:
        return ""
    return "met" if met(figure, value) else "missed"


def met(figure: Figure, value: float) -> bool:
    """Whether the value reaches the aim, if there is one."""
    if figure.aim is None:
        return True
    return value >= figure.aim if figure.key in LARGER_IS_BETTER else value <= figure.aim


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


def write_page(path: Path, samples: Samples, date: str) -> None:
    """Keep the last run in the documentation."""
    about = ", ".join(f"{key} {value}" for key, value in machine().items())
    path.write_text(
        "# Benchmarks: the last run\n\n"
        f"`make bench` on {date}: {about}. Written by the command; do not edit.\n"
        "KubeEdge's figures were taken on a machine of the same size (two shared cores), not in the same run.\n\n"
        f"{table(samples)}\n"
    )
