"""`octoedge replay FILE`: play a capture against our cloud, our edge, or both, and say what was said otherwise.

Exit status 0: all was as in the capture; 1: something was not; 2: the file or the arguments are wrong.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from octoedge.errors import OctoedgeError
from octoedge.protocol.capture import CLOUD, EDGE, Capture
from octoedge.testing.clock import run
from octoedge.testing.replay import oncloud, onedge, story
from octoedge.testing.replay.differences import Difference


def main(arguments: Sequence[str] | None = None) -> int:
    """Play what the arguments say; returns the exit status."""
    parser = argparse.ArgumentParser(prog="octoedge replay", description=__doc__.split("\n")[0])
    parser.add_argument("file", metavar="FILE", type=Path, help="what `octoedge capture` has written")
    text = "which of ours stands opposite the capture (default: the end that it was not captured at, then the other)"
    parser.add_argument("--against", choices=(CLOUD, EDGE), help=text)
    parser.add_argument("--node", default="", help="whose messages (default: those of every node, one after the other)")
    parser.add_argument("--all", action="store_true", help="name what was the same, too")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="for a person, or a program")
    given = parser.parse_args(arguments)
    logging.disable(logging.ERROR)
    try:
        capture = story.load(given.file)
        found = {
            (node, against): replay(capture, node, against)
            for node in _nodes(capture, given.node)
            for against in ([given.against] if given.against else [CLOUD, EDGE])
        }
    except OctoedgeError as error:
        sys.stderr.write(f"octoedge replay: {error}\n")
        return 2
    finally:
        logging.disable(logging.NOTSET)
    if given.output == "json":
        _say(json.dumps([{"node": node, "against": against, "messages": msgspec.to_builtins(differences)}
                          for (node, against), differences in found.items()], indent=1))  # fmt: skip
    else:
        _show(capture, given.file, found, everything=given.all)
    return int(any(difference.counts for differences in found.values() for difference in differences))


def replay(capture: Capture, node: str, against: str) -> list[Difference]:
    """Play one node's part of a capture against one of ours."""
    told = story.Story(capture, node)
    if against == CLOUD:
        return run(oncloud.play(told))
    with tempfile.TemporaryDirectory(prefix="octoedge-replay-") as directory:
        return run(onedge.play(told, Path(directory)))


def _nodes(capture: Capture, wanted: str) -> list[str]:
    nodes = capture.nodes()
    if wanted and wanted not in nodes:
        raise OctoedgeError(f"the capture has nothing of node {wanted}; it has {', '.join(nodes) or 'no node at all'}")
    return [wanted] if wanted else nodes


def _show(capture: Capture, file: Path, found: dict[tuple[str, str], list[Difference]], *, everything: bool) -> None:
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(capture.begin.time))
    _say(f"{file}: {len(capture.said)} messages from {began} UTC on, by {capture.begin.program} ({capture.begin.role})")
    if capture.cut or capture.dropped:
        missing = f"{capture.dropped} messages are missing in it" if capture.dropped else ""
        _say(f"  {'; '.join(filter(None, (capture.cut, missing)))}")
    if not found:
        _say("  nobody was connected")
    for (node, against), differences in found.items():
        other = [difference for difference in differences if difference.counts]
        same = sum(difference.verdict == "same" for difference in differences)
        _say(f"\nnode {node} against our {against}: {same} the same, {len(other)} otherwise")
        for difference in differences:
            if difference.counts or everything:
                _say("\n".join(f"  {line}" for line in difference.lines()))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
