"""The command itself: arguments → scenarios → table, JSON, page."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from octoedge.commands.bench import report
from octoedge.commands.bench.scenarios import SCENARIOS
from octoedge.commands.bench.world import world


def main(line: Sequence[str]) -> int:
    """Measure and print; returns the exit status. Missed aims are shown, they are no failure."""
    parser = argparse.ArgumentParser(prog="octoedge bench", description="Measure, and print the figures.")
    parser.add_argument("--only", metavar="WORD", default="", help="only scenarios with this word in their name")
    parser.add_argument("--page", type=Path, metavar="FILE", help="keep the table in this file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to this file")
    chosen = parser.parse_args(line)
    samples = asyncio.run(_measure(chosen.only))
    print(report.table(samples))
    print(report.as_json(samples))
    if chosen.json:
        chosen.json.write_text(report.as_json(samples) + "\n")
    if chosen.page and not chosen.only:
        report.write_page(chosen.page, samples, datetime.now(UTC).strftime("%Y-%m-%d"))
    return 0


async def _measure(only: str) -> report.Samples:
    samples: report.Samples = {}
    print("bringing an installation up for measuring …", file=sys.stderr, flush=True)
    async with world() as at:
        for title, scenario in SCENARIOS:
            if only in title:
                print(f"measuring: {title} …", file=sys.stderr, flush=True)
                samples |= await scenario(at)
    return samples
