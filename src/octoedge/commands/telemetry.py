"""`octoedge telemetry audit`: what the nodes have numbered against what the cloud has stored. Exit status 1 at a gap.

1,204,551 sent, 1,204,551 stored, 0 gaps, 0 duplicates
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import msgspec

from octoedge.keadm import layout, telemetry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="audit", required=True)
    audit = actions.add_parser("audit", help="what was sent against what is stored; gaps, and why")
    audit.add_argument("--node", metavar="NODE", default="", help="of one node only")
    audit.add_argument("-v", "--verbose", action="store_true", help="a line for each stream")
    audit.add_argument("-o", "--output", choices=("text", "json"), default="text", help="for a person, or a program")
    socket_argument(audit)


def run(arguments: argparse.Namespace) -> int:
    found = telemetry.audit(status_socket(arguments.socket), arguments.node)
    if arguments.output == "json":
        print(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
    else:
        nothing = bool(arguments.node) and not found.accounts
        print(f"no telemetry has come from node {arguments.node}" if nothing else found.text())
        if arguments.verbose and found.accounts:
            print(f"\n{found.rows()}")
    return 0 if found.well else 1


def socket_argument(parser: argparse.ArgumentParser) -> None:
    """`--socket`"""
    text = "CloudCore's status socket (default: that of this installation)"
    parser.add_argument("--socket", metavar="FILE", type=Path, help=text)


def status_socket(named: Path | None) -> Path:
    """Where CloudCore is asked."""
    if named is not None:
        return named
    known = layout.existing(os.environ, "name CloudCore's status socket: --socket /var/lib/kubeedge/cloudcore.sock")
    return known.cloud / "cloudcore.sock"
