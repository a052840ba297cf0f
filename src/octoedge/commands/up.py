"""`octoedge up`: check the machine, then bring a cloud and an edge node up, or repair what is there.

checks → packages → steps of the installation → the sample, once → status → what to try next
"""

from __future__ import annotations

import argparse
import os
import pwd
import sys
import time
from pathlib import Path

from octoedge.commands.asroot import ensure_root
from octoedge.commands.prepare import stop_if
from octoedge.commands.status import show
from octoedge.keadm import layout, network, packages, register, sample, thermometer
from octoedge.keadm.daemons import problems
from octoedge.keadm.image import HELLO
from octoedge.keadm.installation import bring_up
from octoedge.keadm.layout import Layout
from octoedge.keadm.steps import advance
from octoedge.keadm.turns import turn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port-offset", type=int, metavar="N", help="shift all ports by N ($OCTOEDGE_PORT_OFFSET)")
    parser.add_argument("--node", metavar="NAME", help="name of the edge node (default edge-1)")
    parser.add_argument(
        "--node-grace", type=float, metavar="SECONDS",
        help=f"a node silent for so long is unreachable (default {layout.NODE_GRACE:g}); kept until changed",
    )  # fmt: skip
    parser.add_argument(
        "--sample", action=argparse.BooleanOptionalAction, default=None,
        help="bring the sample (back), or none; by default it is made once, by the first `up`",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    ensure_root()
    with turn(_say):
        return _up(arguments)


def _up(arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    chosen = layout.choose(os.environ, arguments.port_offset, arguments.node, arguments.node_grace)
    with packages.plan() as (plan, unobtainable):
        stop_if([*problems(chosen), *unobtainable])
        if plan.missing:
            _say(f"installing {' '.join(plan.missing)} …")
            packages.install(plan)
    if not chosen.settings.exists():
        chosen = network.find_slot(chosen)
    nodes = register.load(chosen)
    changed = advance(bring_up(nodes), _say)
    shown = sample.make(chosen, arguments.sample)
    took = time.monotonic() - began
    _say(f"\nUp: {f'{changed} things done' if changed else 'nothing had to be done'}, {took:.1f} s.\n")
    show(nodes)
    _say(f"\n{shown.told}\n" if shown.told else "")
    _say(_next(chosen, shown.sample))
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _next(chosen: Layout, made: sample.Sample | None) -> str:
    """What to type now; every line works when pasted, in a shell that has got the first one."""
    user = pwd.getpwuid(int(os.environ.get("SUDO_UID", os.getuid()))).pw_dir
    home = "" if chosen.home == Path(user) / ".octoedge" else f"OCTOEDGE_HOME={chosen.home} "
    programs = Path(sys.executable).parent
    lines = _with_sample(chosen, made) if made else _without_sample()
    count = {3: "Three", 5: "Five", 7: "Seven"}[len(lines)]
    return "\n".join((
        f"{count} things to try next, in a shell that begins with this line:",
        f"  export {home}KUBECONFIG={chosen.kubeconfig} PATH={programs}:$PATH",
        *(f"\n  # {why}\n  {line}" for line, why in lines),
    ))  # fmt: skip


def _with_sample(chosen: Layout, made: sample.Sample) -> list[tuple[str, str]]:
    node, name = chosen.node, sample.NAME
    page = '{"data":{"index.html":"My own page\\n"}}'
    return [
        (f"curl -s {made.url}", "a page, out of a container on the edge node"),
        (f"kubectl logs deployment/{name}", "what the container says; also exec, cp, port-forward, top"),
        (f"kubectl patch configmap {name} --type=merge -p '{page}'", "another page, a second later; curl again"),
        (
            f"octoedge node disconnect {node}; curl -s {made.url}; octoedge node connect {node}",
            "the node cut off from the cloud: the edge lives alone",
        ),
        *(_with_thermometer() if made.modbus is not None else ()),
        ("octoedge node add edge-2 && kubectl get nodes", "a second edge node on this machine"),
    ]


def _with_thermometer() -> list[tuple[str, str]]:
    name = thermometer.NAME
    wish = '[{"op":"replace","path":"/spec/properties/1/desired/value","value":"60"}]'
    return [
        (f"octoedge device watch {name} --count 9", "a device: a line for each new value that its Modbus mapper reads"),
        (
            f"kubectl patch device {name} --type=json -p '{wish}'",
            "a wish, which is written into the device's register; watch again",
        ),
    ]


def _without_sample() -> list[tuple[str, str]]:
    return [
        ("kubectl get nodes", "the nodes, as Kubernetes sees them"),
        (f"kubectl create deployment mine --image={HELLO}", "a Deployment, of an image that every node has"),
        ("octoedge status", "how every part is"),
    ]
