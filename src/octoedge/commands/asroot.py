"""Setting up containers needs root; whoever is not root gets there by sudo, keeping home and offset."""

from __future__ import annotations

import os
import sys

from octoedge.errors import InstallError
from octoedge.keadm.layout import locate

KEPT = ("OCTOEDGE_PORT_OFFSET", "PATH", "LANG")


def ensure_root() -> None:
    """Go on as root: returns when we are, else starts this command anew by sudo."""
    if os.geteuid() == 0:
        return
    kept = [f"{name}={os.environ[name]}" for name in KEPT if name in os.environ]
    command = ["sudo", "--", "env", f"OCTOEDGE_HOME={locate(os.environ)}", *kept, *_this_command()]
    print("octoedge: this needs root; going on with sudo", file=sys.stderr, flush=True)
    try:
        os.execvp(command[0], command)  # noqa: S606 - sudo asks for a password on this terminal
    except FileNotFoundError as missing:
        raise InstallError("this needs root, and there is no sudo; run it as root.") from missing


def _this_command() -> list[str]:
    return [sys.executable, "-m", "octoedge.commands.octoedge", *sys.argv[1:]]
