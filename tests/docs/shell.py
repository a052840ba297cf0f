"""The shell in which the command blocks of pages run, and a user's surroundings in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from octoedge.keadm.toolchain import cached_kubectl

ROOT = Path(__file__).parents[2]


def surroundings(home: str, offset: int) -> dict[str, str]:
    """A fresh shell's, with a home of its own and ports out of the way."""
    kubectl = cached_kubectl(ROOT / ".venv/bin/python").parent
    return {
        **os.environ,
        "OCTOEDGE_HOME": home,
        "OCTOEDGE_PORT_OFFSET": str(offset),
        "KUBECACHEDIR": f"{home}/kubectl",
        "PATH": f"{kubectl}:{os.environ['PATH']}",
    }


def run(script: str, environment: dict[str, str]) -> str:
    """Run a script from the root of the project; it stops at the first command that fails."""
    done = subprocess.run(
        ("bash", "-euo", "pipefail", "-x"), input=script, capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
