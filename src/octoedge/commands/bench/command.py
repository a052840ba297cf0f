"""The command itself: arguments → scenarios → table, JSON, page."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from octoedge.commands.bench import record, report
from octoedge.commands.bench.course import Course
from octoedge.commands.bench.messages import MESSAGES
from octoedge.commands.bench.record import Record
from octoedge.commands.bench.scenarios import scenarios
from octoedge.commands.bench.world import world
from octoedge.errors import ConfigError
from octoedge.runtime import openfiles


def main(line: Sequence[str]) -> int:
    """Measure and print; returns the exit status: 1 when a scenario failed. Missed aims are shown, they are no failure.

    Whenever it ends, what was measured until then is printed, and kept in the page.
    """
    chosen = _parser().parse_args(line)
    try:
        course = _course(chosen)
    except ConfigError as error:
        print(f"octoedge bench: {error}", file=sys.stderr)
        return 2
    openfiles.allow_many()
    ended = False
    try:
        asyncio.run(_measure(course))
    except (asyncio.CancelledError, KeyboardInterrupt):
        ended = True
    rows = {key: row for key, row in course.record.rows.items() if row.taken == course.taken}
    samples = {key: row.samples for key, row in rows.items() if row.samples}
    print(report.table(rows))
    print(report.as_json(samples))
    if chosen.json:
        chosen.json.write_text(report.as_json(samples) + "\n")
    if ended:
        print("octoedge bench: ended before its end", file=sys.stderr)
        return 130
    return 1 if course.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="octoedge bench", description="Measure, and print the figures.")
    text = "only scenarios with this word in their name; may be given again"
    parser.add_argument("--only", metavar="WORD", action="append", default=[], help=text)
    text = "keep the table in this file, and every sample beside it in FILE.json; what is not measured stays"
    parser.add_argument("--page", type=Path, metavar="FILE", help=text)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample of this run to this file")
    text = f"so many messages under random kills (default {MESSAGES}; 1000000 takes a quarter of an hour or more)"
    parser.add_argument("--messages", metavar="N", type=int, default=MESSAGES, help=text)
    return parser


def _course(chosen: argparse.Namespace) -> Course:
    """Raises `ConfigError`."""
    every = scenarios(chosen.messages)
    wanted = [one for one in every if not chosen.only or any(word in one.title for word in chosen.only)]
    if not wanted:
        raise ConfigError(f"no scenario has such a name; there are {', '.join(one.title for one in every)}")
    taken = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    page: Path | None = chosen.page
    if page is None:
        return Course(wanted, Record(report.machine()), taken, lambda _: None)
    data = page.with_suffix(".json")

    def keep(known: Record) -> None:
        record.save(data, known)
        record.replace(page, report.page(known).encode())

    return Course(wanted, record.load(data, report.machine()), taken, keep)


async def _measure(course: Course) -> None:
    task = asyncio.current_task()
    assert task is not None
    # What is measured is taken away again whoever ends this.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await course.run(world)
