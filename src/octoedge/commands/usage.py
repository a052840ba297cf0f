"""`octoedge usage NODE`: what the channel between the cloud and a node has carried, by cause.

The cloud counts, and the node counts: `--from edge` asks EdgeCore's status socket, on the node itself.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from octoedge.errors import InstallError
from octoedge.keadm import edgehealth, layout, register
from octoedge.keadm.cluster import Server
from octoedge.protocol.usage import BELOW

_DAY = 86400
_SECONDS = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="NODE")
    parser.add_argument("--from", dest="source", choices=("cloud", "edge"), default="cloud", help="who is asked")
    text = "CloudCore's monitor (default: that of this installation)"
    parser.add_argument("--monitor", metavar="HOST:PORT", default="", help=text)
    text = "EdgeCore's status socket (default: that of this installation's node)"
    parser.add_argument("--socket", metavar="FILE", type=Path, help=text)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="for a person, or a program")


def run(arguments: argparse.Namespace) -> int:
    usage = _of_cloud(arguments) if arguments.source == "cloud" else _of_edge(arguments)
    if arguments.output == "json":
        print(json.dumps(usage, indent=1))
    else:
        print(table(usage))
    return 0


def table(usage: dict[str, Any]) -> str:
    """Lines for a person: causes, the largest first, then all together."""
    seconds = max(1.0, float(usage["seconds"]))
    lines = [f"{'direction':<11}{'cause':<32}{'messages':>10}{'bytes':>14}{'a day':>12}"]
    for row in usage["rows"]:
        day = _human(row["bytes"] / seconds * _DAY)
        lines.append(f"{row['direction']:<11}{row['cause']:<32}{row['messages']:>10}{row['bytes']:>14}{day:>12}")
    size = sum(row["bytes"] for row in usage["rows"])
    messages = sum(row["messages"] for row in usage["rows"])
    whole = _human((size + messages * BELOW) / seconds * _DAY)
    lines.append(f"{'both':<11}{'all':<32}{messages:>10}{size:>14}{_human(size / seconds * _DAY):>12}")
    lines.append(f"with TLS, TCP and IP below (about {BELOW} bytes for each message): {whole} a day")
    lines.append(f"counted for {seconds / 3600:.1f} hours; logs, exec and port-forward have a connection of their own")
    return "\n".join(lines)


def _human(size: float) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _of_cloud(arguments: argparse.Namespace) -> dict[str, Any]:
    host, _, port = (arguments.monitor or f"127.0.0.1:{_installed().ports.monitor}").rpartition(":")
    server = Server(host.strip("[]"), int(port))
    found: dict[str, Any] = server.get("/usage", _SECONDS)
    if arguments.node not in found:
        raise InstallError(
            f"CloudCore at {server.url('/usage')} has not heard of node {arguments.node} since it started; it knows "
            f"{', '.join(sorted(found)) or 'none'}"
        )
    usage: dict[str, Any] = found[arguments.node]
    return usage


def _of_edge(arguments: argparse.Namespace) -> dict[str, Any]:
    health = edgehealth.ask(arguments.socket or _socket(arguments.node))
    return {"seconds": time.time() - health["usageSince"], "rows": health["usage"]}


def _socket(name: str) -> Path:
    node = next((node for node in register.load(_installed()).nodes() if node.node == name), None)
    if node is None:
        raise InstallError(f"no node {name} on this machine; name its status socket: --socket FILE")
    return node.edge / "edgecore.sock"


def _installed() -> layout.Layout:
    return layout.existing(os.environ, "name CloudCore's monitor (--monitor 127.0.0.1:9091) or EdgeCore's --socket")
