"""`keadm token create|list|delete`: join tokens for one node, for one use, with an end, beside `keadm gettoken`'s."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from octoedge.commands.identity import ask
from octoedge.errors import ConfigError
from octoedge.keadm.table import table
from octoedge.kube.client import Client
from octoedge.pki import jointoken
from octoedge.pki.jointoken import Kept, Record
from octoedge.runtime.clock import rfc3339

_TTL = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 366 * 86400
_NODE = re.compile(r"[a-z0-9]([-a-z0-9.]{0,50}[a-z0-9])?")


def add_arguments(parser: argparse.ArgumentParser, common: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the actions; `common` adds what all have."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    make = actions.add_parser("create", help="make a token and print it, this one time")
    make.add_argument("--node", default="", metavar="NAME", help="only for this node, also when its name is taken")
    make.add_argument("--ttl", default="24h", metavar="TIME", help="how long it is good: 30m, 24h, 7d (%(default)s)")
    make.add_argument("--once", action="store_true", help="for one machine only")
    make.add_argument("--description", default="", metavar="TEXT", help="for `list`")
    listing = actions.add_parser("list", help="the tokens there are, without their secrets")
    listing.add_argument("-o", "--output", choices=("text", "json"), default="text")
    remove = actions.add_parser("delete", help="take a token back")
    remove.add_argument("id", metavar="ID", help="as `list` shows it")
    for action in (make, listing, remove):
        common(action)


def run(arguments: argparse.Namespace, admin: Path) -> None:
    """Do what `arguments.action` says, as the administrator of that kubeconfig."""
    {"create": _create, "list": _list, "delete": _delete}[arguments.action](arguments, admin)


def _create(arguments: argparse.Namespace, admin: Path) -> None:
    if arguments.node and not _NODE.fullmatch(arguments.node):
        raise ConfigError(f"--node {arguments.node!r} is no name of a node: lower case letters, digits, - and . only")
    now = time.time()
    wish = Record("", now + seconds(arguments.ttl), now, arguments.node, arguments.once, arguments.description[:200])

    async def make(client: Client) -> str:
        return await jointoken.create(client, wish, await jointoken.ca_hash(client))

    print(ask(admin, make))


def seconds(text: str) -> int:
    """Seconds of a time such as `30m`, `24h`, `7d`; `ConfigError` names what is wrong."""
    match = _TTL.fullmatch(text)
    found = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 60 <= found <= _LONGEST:
        raise ConfigError(f"--ttl {text!r}: a number with s, m, h or d is wanted, from 60s to 366d")
    return found


def _list(arguments: argparse.Namespace, admin: Path) -> None:
    now = time.time()
    rows = [_row(kept, now) for kept in ask(admin, jointoken.read_all)]
    if arguments.output == "json":
        print(json.dumps({"tokens": rows}, indent=1))
    else:
        headings = ("id", "node", "uses", "until", "used by", "description")
        print(table(headings, [tuple(row.values()) for row in rows]))


def _row(kept: Kept, now: float) -> dict[str, str]:
    record = kept.record
    until = rfc3339(record.expires) + (" (over)" if record.expires <= now else "")
    used = f"{record.used_by} at {rfc3339(record.used_at)}" if record.used_by else "nobody"
    return {
        "id": kept.id,
        "node": record.node or "any that is free",
        "uses": "one" if record.once else "many",
        "until": until,
        "usedBy": used,
        "description": record.description,
    }


def _delete(arguments: argparse.Namespace, admin: Path) -> None:
    ask(admin, lambda client: jointoken.delete(client, arguments.id))
    print(f"token {arguments.id} opens nothing any more; nodes that joined by it stay")
