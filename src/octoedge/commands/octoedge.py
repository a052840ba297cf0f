"""`octoedge`: the command for a person. Each subcommand is a module, imported only when it is asked for.

A subcommand module has `add_arguments(parser)` and `run(arguments) -> int`; the ones that are daemons take the rest of
the line as it is, by `main(arguments) -> int`. They are in this room, one module each by its name, but for `replay`: it
is made of the worlds that tests are made of, and is `octoedge.testing.replay.command`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import select
import signal
import sys
from collections.abc import Sequence
from types import ModuleType

from octoedge.errors import OctoedgeError
from octoedge.version import VERSION

SUBCOMMANDS = {
    "up": "start a cloud and an edge node on this machine; run again, it repairs",
    "down": "stop what `up` started; with --purge, remove its data too",
    "status": "say how every part is, and what is wrong first",
    "node": "edge nodes here: add, remove, list, disconnect, connect; anywhere: revoke, release, certificates",
    "usage": "what a node's channel has carried, by cause: bytes, messages, a day's worth",
    "capture": "what cloud and edge say to each other, redacted, into a file",
    "device": "devices: what each should be and what it is, and what it was; get, watch, history, plot",
    "telemetry": "values of devices that are kept: what was sent against what is stored; audit",
    "who-can": "what a stolen certificate of a node could read or change",
    "export": "write everything as manifests, for a real Kubernetes to take over",
    "kubeconfig": "print the path of the kubeconfig",
    "image": "bring an image archive onto a node, list images",
    "registry": "mirrors, insecure registries, credentials: add, list, remove",
    "prepare": "check this machine, install what is missing (used by `make up`)",
}
WHOLE_LINE = {
    "replay": "play a capture against a real cloud or edge of ours, and say what differs",
    "apiserver": "run the embedded Kubernetes API server",
    "bench": "measure, and print the figures",
}

_ELSEWHERE = {"replay": "octoedge.testing.replay.command"}
"""Subcommands that are made of worlds for tests."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the subcommand; returns the exit status."""
    line = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if line and line[0] in WHOLE_LINE:
            module = _ELSEWHERE.get(line[0], f"octoedge.commands.{line[0]}")
            return _said(int(importlib.import_module(module).main(line[1:]) or 0))
        return _said(_run(line))
    except OctoedgeError as problem:
        print(f"octoedge: {problem}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains at its end
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print("octoedge: stopped half way; run the same command again to go on", file=sys.stderr)
        return 130


def _said(status: int) -> int:
    """The exit status, once all that was printed has gone out."""
    sys.stdout.flush()
    return status


def _nobody_reads() -> bool:
    """Whether whoever read what is printed has enough, as `head` has."""
    out = select.poll()
    out.register(1, 0)
    return any(event & select.POLLERR for _, event in out.poll(0))


def _run(line: list[str]) -> int:
    chosen = next((word for word in line if not word.startswith("-")), "")
    module = _module(chosen) if chosen in SUBCOMMANDS else None
    parser = _parser()
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, text in {**SUBCOMMANDS, **WHOLE_LINE}.items():
        subparser = subparsers.add_parser(name, help=text, description=text)
        if module is not None and name == chosen:
            module.add_arguments(subparser)
    parsed = parser.parse_args(line)
    if module is None:
        parser.print_help()
        return 0 if not line else 2
    return int(module.run(parsed))


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"octoedge.commands.{name.replace('-', '')}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="octoedge",
        description="Kubernetes at the edge: the cloud decides what should run, every node keeps it running.",
        epilog="Data lives in $OCTOEDGE_HOME (default ~/.octoedge).",
    )
    parser.add_argument("--version", action="version", version=f"Octoedge {VERSION}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
