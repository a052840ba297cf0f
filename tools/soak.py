"""`make soak`: histories of the simulation, one seed after the other, on every core; a failing one prints its trace.

tools/soak.py --seed 17          one history, its trace, and the verdict
tools/soak.py --minutes 60       from a random seed on; --from N begins at N
tools/soak.py --count 5000
tools/soak.py --telemetry …      histories of telemetry instead: values, limits, backups, exports
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from octoedge.testing import simulation, telemetryhistory
from octoedge.testing.simulation import STEPS, Broken


def _play(telemetry: bool) -> Callable[..., list[str]]:
    return telemetryhistory.play if telemetry else simulation.play


def _one(work: tuple[int, int, bool]) -> tuple[int, str]:
    """(seed, trace of a failure or nothing)"""
    seed, steps, telemetry = work
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="octoedge-soak-") as folder:
        try:
            _play(telemetry)(seed, Path(folder), steps=steps)
        except Broken as broken:
            return seed, str(broken)
    return seed, ""


def _many(arguments: argparse.Namespace) -> int:
    first = random.randrange(10**9) if arguments.first is None else arguments.first
    until = time.monotonic() + 60 * arguments.minutes if arguments.minutes else float("inf")
    seeds = ((first + number, arguments.steps, arguments.telemetry) for number in range(arguments.count or 10**6))
    failed = done = 0
    print(f"from seed {first} on, {arguments.jobs} at once, {arguments.steps} steps each", flush=True)
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        for _, trace in pool.imap_unordered(_one, seeds):
            done += 1
            if trace:
                failed += 1
                print(trace, flush=True)
            if done % 100 == 0:
                print(f"{done} histories, {failed} broken", flush=True)
            if time.monotonic() > until or failed >= arguments.failures:
                pool.terminate()
                break
    print(f"{done} histories, {failed} broken")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the simulation on and on.")
    parser.add_argument("--seed", type=int, help="this history only, with its trace")
    parser.add_argument("--from", dest="first", type=int, metavar="N")
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--telemetry", action="store_true", help="histories of telemetry")
    parser.add_argument("--failures", type=int, default=5, help="stop after so many")
    arguments = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of texts are walked in the same order then
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    if arguments.seed is None:
        return _many(arguments)
    with tempfile.TemporaryDirectory(prefix="octoedge-soak-") as folder:
        try:
            print("\n".join(_play(arguments.telemetry)(arguments.seed, Path(folder), steps=arguments.steps)))
        except Broken as broken:
            print(broken)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
