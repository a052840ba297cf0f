"""`make test-peers`: every cloud with every edge, ours and Go KubeEdge's, and a table of what works.

    PYTHONPATH=tests python -m peers.matrix [--cells ours/Go,…] [--only CASE] [--figures] [--keep]

$KUBEEDGE_BIN names the folder of the Go programs; $KUBECONFIG an API server, else the embedded one is started.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from octoedge.errors import OctoedgeError
from octoedge.testing.peers.cell import Cell, cell
from octoedge.testing.peers.programs import GoPrograms, find

from .cases import CASES, Case, afresh
from .figures import measure

OFFSET = int(os.environ.get("OCTOEDGE_TEST_PORT_OFFSET", "8000"))
CELLS = ("ours/ours", "ours/Go", "Go/ours", "Go/Go")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended in one cell."""

    ok: bool
    seconds: float
    why: str = ""

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s" if self.ok else "FAILED"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", default=",".join(CELLS), help="cloud/edge, comma between them (default %(default)s)")
    parser.add_argument("--only", default="", help="cases whose title holds one of these words, and those they need")
    parser.add_argument("--figures", action="store_true", help="also measure both makes side by side; 2 min a cell")
    parser.add_argument("--keep", action="store_true", help="keep logs and data also when all went well")
    asked = parser.parse_args(arguments)
    wanted = asked.cells.split(",")
    if unknown := set(wanted) - set(CELLS):
        parser.error(f"no such cell: {', '.join(sorted(unknown))}; there are {', '.join(CELLS)}")
    try:
        named = os.environ.get("KUBEEDGE_BIN", "")
        go = find(named) if named or any("Go" in name for name in wanted) else None
    except OctoedgeError as problem:
        print(f"test-peers: {problem}", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("test-peers: real containers need root; run it with sudo.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that everything is taken down then too
    home = Path(tempfile.mkdtemp(prefix="octopeers-"))
    cases = _chosen(asked.only.split(",") if asked.only else [], go_mapper=go is not None and go.mapper is not None)
    measured: dict[str, dict[str, str]] | None = {} if asked.figures else None
    results = {name: _play(name, home, go, cases, measured) for name in wanted}
    print(_table(results, [case.title for case in cases]))
    if measured is not None:
        print(_table(measured, []))
    ok = all(outcome.ok for column in results.values() for outcome in column.values())
    if ok and not asked.keep:
        shutil.rmtree(home)
    else:
        print(f"\nlogs and data: {home}")
    return 0 if ok else 1


def _chosen(words: list[str], *, go_mapper: bool) -> list[Case]:
    told = [case for case in CASES if go_mapper or not case.go_mapper]
    return [case for case in told if case.needed or not words or any(word in case.title for word in words)]


def _play(
    name: str, home: Path, go: GoPrograms | None, cases: list[Case], measured: dict[str, dict[str, str]] | None
) -> dict[str, Outcome]:
    """All cases in one cell; after one that others need has failed, no more. Figures go into `measured`."""
    cloud, edge = name.split("/")
    kubeconfig = Path(os.environ["KUBECONFIG"]).absolute() if os.environ.get("KUBECONFIG") else None
    found: dict[str, Outcome] = {}
    print(f"== cloud {cloud}, edge {edge}", flush=True)
    try:
        with cell(home / name.lower().replace("/", "-"), OFFSET, (cloud, edge), go, kubeconfig) as made:
            found |= dict(_outcomes(made, cases))
            if measured is not None:
                measured[name] = measure(made)
            made.note()
    except OctoedgeError as problem:
        found["up and down"] = Outcome(False, 0, str(problem))
        print(f"  up and down: {problem}", flush=True)
    return found


def _outcomes(made: Cell, cases: list[Case]) -> Iterator[tuple[str, Outcome]]:
    for case in cases:
        began = time.monotonic()
        try:
            case.tell(made)
            outcome = Outcome(True, time.monotonic() - began)
        except (AssertionError, OSError, OctoedgeError, ValueError, KeyError) as problem:
            why = str(problem) or traceback.format_exc(limit=-1)
            outcome = Outcome(False, time.monotonic() - began, why + "".join(_revived(made)))
        print(f"  {case.title}: {outcome}{f' ({outcome.why[:600]})' if outcome.why else ''}", flush=True)
        yield case.title, outcome
        if case.needed and not outcome.ok:
            return
        if not outcome.ok:
            _recover(made)


def _recover(made: Cell) -> None:
    try:
        afresh(made)
    except (AssertionError, OSError, OctoedgeError) as problem:
        print(f"    (the pod could not be made anew: {str(problem)[:300]})", flush=True)


def _revived(made: Cell) -> Iterator[str]:
    """What has died meanwhile, started again for the cases that follow."""
    if made.cloud.cloudcore.pid() is None:
        made.cloud.start_cloudcore()
        yield "; CloudCore had died"
    if made.edge.edgecore.pid() is None:
        made.edge.edgecore.start()
        yield "; EdgeCore had died"


def _table(results: Mapping[str, Mapping[str, object]], titles: list[str]) -> str:
    """In the order of `titles`, then what else there is."""
    titles = list(dict.fromkeys([*titles, *(title for column in results.values() for title in column)]))
    rows = [["cloud / edge", *(name.replace("/", " / ") for name in results)]]
    rows += [[title, *(str(column.get(title, "not told")) for column in results.values())] for title in titles]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" | ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "-|-".join("-" * width for width in widths))
    return "\n" + "\n".join(f"| {line} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
