"""`octoedge status`: a line for every part, and what is wrong first. Exit status 1 when something is.

It changes nothing but the administrator's kubeconfig, when the API server has made a new certificate for him.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict

from octoedge.keadm import credentials, layout, register, status
from octoedge.keadm.register import Register


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="for a person, or a program")


def run(arguments: argparse.Namespace) -> int:
    known = layout.load(os.environ)
    if known is None:
        return _nothing(arguments.output)
    nodes = register.load(known)
    renewed = credentials.renew_kubeconfig(known)
    if arguments.output == "text":
        well = show(nodes)
        if renewed:
            print(f"\n{renewed}.")
        return 0 if well else 1
    found = status.links(nodes)
    parts = [asdict(part) for part in status.components(nodes, found)]
    print(json.dumps({"components": parts, "warnings": credentials.ending(nodes, time.time())}, indent=1))
    return 1 if status.first_broken(found) else 0


def show(nodes: Register) -> bool:
    """A line for every part, on standard output; whether all are well."""
    found = status.links(nodes)
    broken = status.first_broken(found)
    width = max(len(_label(link)) for link in found) + 2
    for link in found:
        print(f"{_label(link):<{width}}{'ok' if link.ok else 'NOT OK':<8}{link.detail}")
    if broken:
        print(f"\nWhat is wrong: {_label(broken)}: {broken.detail}")
    for sentence in credentials.ending(nodes, time.time()):
        print(f"\nSoon: {sentence}.")
    return broken is None


def _label(link: status.Link) -> str:
    return f"{link.node}: {link.label}" if link.node else link.label


def _nothing(output: str) -> int:
    home = layout.locate(os.environ)
    text = status.deserted(home) or f"nothing is set up in {home}; `octoedge up` does it"
    print(json.dumps({"components": []}) if output == "json" else text)
    return 1
