"""`octoedge node revoke|release|certificates`: whose a node's name is, in any cluster that a kubeconfig leads to."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from octoedge.errors import ConfigError
from octoedge.keadm.table import table
from octoedge.kube.access import kubeconfig
from octoedge.kube.client import Client
from octoedge.kube.kinds import NODES
from octoedge.pki import ledger
from octoedge.pki.identity import Identity
from octoedge.runtime.clock import rfc3339

T = TypeVar("T")

ACTIONS = {
    "revoke": "refuse every certificate of a node at once, wherever it is; for a machine that was stolen",
    "release": "let the next machine with a join token have the node's name; what was revoked stays refused",
    "certificates": "which nodes have certificates, until when, and which are revoked",
}
ADMIN = Path("/root/.kube/config")


class _Meta(msgspec.Struct, frozen=True):
    name: str = ""


class _Node(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()


def add_arguments(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the three actions to `octoedge node`."""
    for name, text in ACTIONS.items():
        action = actions.add_parser(name, help=text, description=text)
        if name == "certificates":
            action.add_argument("-o", "--output", choices=("text", "json"), default="text", help="table or JSON")
        else:
            action.add_argument("name", metavar="NAME", help="the node's name")
        if name == "revoke":
            action.add_argument("--reason", default="", metavar="TEXT", help="shown to who is refused, and in the list")
        add_kubeconfig(action)


def add_kubeconfig(parser: argparse.ArgumentParser) -> None:
    """The flag that says which cluster."""
    text = f"an administrator's kubeconfig (default: that of `octoedge up`, else {ADMIN})"
    parser.add_argument("--kube-config", type=Path, metavar="FILE", help=text)


def run(arguments: argparse.Namespace) -> None:
    """Do what `arguments.action` says."""
    _RUN[arguments.action](arguments)


def ask(file: Path | None, question: Callable[[Client], Awaitable[T]]) -> T:
    """Ask the API server of a kubeconfig."""

    async def main() -> T:
        async with Client(kubeconfig(file or _default())) as client:
            return await question(client)

    return asyncio.run(main())


def _default() -> Path:
    from octoedge.keadm.layout import load

    known = load(os.environ)
    if known is not None:
        return known.kubeconfig
    if not ADMIN.exists():
        raise ConfigError(f"nothing is set up here, and there is no {ADMIN}; name a kubeconfig by --kube-config FILE")
    return ADMIN


def _revoke(arguments: argparse.Namespace) -> None:
    name, reason = arguments.name, arguments.reason[:200]
    ask(arguments.kube_config, lambda client: ledger.revoke(client, name, reason, now=time.time()))
    print(
        f"{name}: its certificates are refused from now on, and its connections end. Its pods go on where it is; "
        f"`kubectl delete node {name}` gives them to others. `octoedge node release {name}` frees the name."
    )


def _release(arguments: argparse.Namespace) -> None:
    ask(arguments.kube_config, lambda client: ledger.release(client, arguments.name))
    print(f"{arguments.name}: the next machine that joins under this name is this node, and ends older certificates")


def _certificates(arguments: argparse.Namespace) -> None:
    identities, nodes = ask(arguments.kube_config, _identities_and_nodes)
    rows = [row(one, is_there=one.node in nodes) for one in identities]
    if arguments.output == "json":
        print(json.dumps({"nodes": rows}, indent=1))
    else:
        print(table(("node", "certificate until", "state"), [tuple(row.values()) for row in rows]))


async def _identities_and_nodes(client: Client) -> tuple[list[Identity], frozenset[str]]:
    """What is kept of nodes' names, and the names of the Nodes that there are."""
    listing = await client.list(NODES)
    named = (msgspec.json.decode(item, type=_Node).metadata.name for item in listing.items)
    return await ledger.read_all(client), frozenset(named)


def row(one: Identity, *, is_there: bool) -> dict[str, str]:
    """One line of the list; `is_there`: whether there is a Node of this name."""
    until = rfc3339(one.issued[-1].until) if one.issued else "none"
    return {"node": one.node, "until": until, "state": _state(one, is_there=is_there)}


def _state(one: Identity, *, is_there: bool) -> str:
    """A name is held by a node that there is: who deletes the Node frees it."""
    if one.revoked:
        return f"revoked {one.revoked}"
    if one.released:
        return "released"
    return "held" if is_there else "free: there is no Node of this name"


_RUN: dict[str, Callable[[argparse.Namespace], None]] = {
    "revoke": _revoke,
    "release": _release,
    "certificates": _certificates,
}
