"""The command itself: arguments → scenarios → table, JSON, page."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from octoedge.commands.bench import report
from octoedge.commands.bench.messages import MESSAGES
from octoedge.commands.bench.scenarios import SCENARIOS, alone
from octoedge.commands.bench.world import world
from octoedge.runtime import openfiles


def main(line: Sequence[str]) -> int:
    """Measure and print; returns the exit status. Missed aims are shown, they are no failure."""
    parser = argparse.ArgumentParser(prog="octoedge bench", description="Measure, and print the figures.")
    parser.add_argument("--only", metavar="WORD", default="", help="only scenarios with this word in their name")
    parser.add_argument("--page", type=Path, metavar="FILE", help="keep the table in this file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to this file")
    text = f"so many messages under random kills (default {MESSAGES}; 1000000 takes a quarter of an hour or more)"
    parser.add_argument("--messages", metavar="N", type=int, default=MESSAGES, help=text)
    chosen = parser.parse_args(line)
    openfiles.allow_many()
    try:
        samples = asyncio.run(_measure(chosen.only, chosen.messages))
    except asyncio.CancelledError:
        print("octoedge bench: ended before its end", file=sys.stderr)
        return 130
    print(report.table(samples))
    print(report.as_json(samples))
    if chosen.json:
        chosen.json.write_text(report.as_json(samples) + "\n")
    if chosen.page and not chosen.only:
        report.write_page(chosen.page, samples, datetime.now(UTC).strftime("%Y-%m-%d"))
    return 0


async def _measure(only: str, messages: int) -> report.Samples:
    task = asyncio.current_task()
    assert task is not None
    # What is measured is taken away again whoever ends this.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    samples: report.Samples = {}
    for title, measure in alone(messages):
        if only in title:
            _say(f"measuring: {title} …")
            samples |= await measure()
    chosen = [(title, scenario) for title, scenario in SCENARIOS if only in title]
    if not chosen:
        return samples
    _say("bringing an installation up for measuring …")
    async with world() as at:
        for title, scenario in chosen:
            _say(f"measuring: {title} …")
            samples |= await scenario(at)
    return samples


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
