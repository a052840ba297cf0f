"""`octoedge up`: check the machine, then bring a cloud and an edge node up, or repair what is there."""

from __future__ import annotations

import argparse
import os
import pwd
import time
from pathlib import Path

from octoedge.commands.asroot import ensure_root
from octoedge.commands.prepare import stop_if
from octoedge.keadm import layout, network, packages, register
from octoedge.keadm.daemons import problems
from octoedge.keadm.installation import bring_up
from octoedge.keadm.layout import Layout
from octoedge.keadm.steps import advance
from octoedge.keadm.turns import turn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port-offset", type=int, metavar="N", help="shift all ports by N ($OCTOEDGE_PORT_OFFSET)")
    parser.add_argument("--node", metavar="NAME", help="name of the edge node (default edge-1)")


def run(arguments: argparse.Namespace) -> int:
    ensure_root()
    with turn(_say):
        return _up(arguments)


def _up(arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    chosen = layout.choose(os.environ, arguments.port_offset, arguments.node)
    with packages.plan() as (plan, unobtainable):
        stop_if([*problems(chosen), *unobtainable])
        if plan.missing:
            print(f"installing {' '.join(plan.missing)} …", flush=True)
            packages.install(plan)
    if not chosen.settings.exists():
        chosen = network.find_slot(chosen)
    changed = advance(bring_up(register.load(chosen)), _say)
    took = time.monotonic() - began
    print(f"\nUp: {f'{changed} things done' if changed else 'nothing had to be done'}, {took:.1f} s.")
    print(_next(chosen))
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _next(chosen: Layout) -> str:
    """What to type now."""
    user = pwd.getpwuid(int(os.environ.get("SUDO_UID", os.getuid()))).pw_dir
    home = "" if chosen.home == Path(user) / ".octoedge" else f"export OCTOEDGE_HOME={chosen.home}\n  "
    return (
        "Next:\n"
        f"  {home}export KUBECONFIG={chosen.kubeconfig} PATH=$PWD/.venv/bin:$PATH\n"
        "  kubectl get nodes\n"
        "  kubectl apply -f examples/hello-pod.yaml\n"
        "  octoedge status"
    )
