"""`octoedge registry add|list|remove`: mirrors, insecure registries, and credentials of a whole site.

Credentials of single pods are theirs: `imagePullSecrets`, as anywhere in Kubernetes.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from pathlib import Path

from octoedge.commands.asroot import ensure_root
from octoedge.keadm import layout, registries

MAX_PASSWORD = 64 << 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    text = "say how a registry is reached; takes effect at the next pull"
    adding = actions.add_parser("add", help=text, description=text)
    adding.add_argument("host", metavar="HOST[:PORT]", help="as in image names: docker.io; _default: every registry")
    text = "ask there instead, and the registry itself last; may be repeated (default: the registry itself)"
    adding.add_argument("--mirror", action="append", default=[], metavar="URL", help=text)
    adding.add_argument(
        "--insecure", action="store_true", help="take any certificate (for plain HTTP, say --mirror http://…)"
    )
    adding.add_argument("--ca", type=Path, metavar="FILE", help="the CA that its certificate comes from")
    adding.add_argument("--username", default="", metavar="NAME", help="the password is asked for, or read by:")
    adding.add_argument("--password-stdin", action="store_true", help="take the password from standard input")
    listing = actions.add_parser("list", help="the registries that were added", description="Registries.")
    listing.add_argument("-o", "--output", choices=("text", "json"), default="text", help="for a person, or a program")
    removing = actions.add_parser("remove", help="reach it as usual again", description="Forget a registry.")
    removing.add_argument("host", metavar="HOST[:PORT]")


def run(arguments: argparse.Namespace) -> int:
    ensure_root()
    known = layout.existing(os.environ)
    {"add": _add, "list": _list, "remove": _remove}[arguments.action](known.registries, arguments)
    return 0


def _add(folder: Path, arguments: argparse.Namespace) -> None:
    password = _password(arguments) if arguments.username else ""
    wanted = registries.Registry(
        arguments.host, arguments.mirror, not arguments.insecure, arguments.ca, arguments.username, password
    )
    print(f"wrote {registries.add(folder, wanted)}; it takes effect at the next pull, on every node of this machine")


def _password(arguments: argparse.Namespace) -> str:
    if not arguments.password_stdin:
        return getpass.getpass(f"Password of {arguments.username} at {arguments.host}: ")
    return sys.stdin.read(MAX_PASSWORD).rstrip("\r\n")


def _remove(folder: Path, arguments: argparse.Namespace) -> None:
    registries.remove(folder, arguments.host)
    print(f"{arguments.host} is reached as usual again")


def _list(folder: Path, arguments: argparse.Namespace) -> None:
    found = registries.entries(folder)
    if arguments.output == "json":
        print(json.dumps({"registries": [{"host": host, "urls": urls} for host, urls in found.items()]}, indent=1))
        return
    for host, urls in found.items():
        print(f"{host}: {', '.join(urls)}")
