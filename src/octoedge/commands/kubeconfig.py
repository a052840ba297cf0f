"""`octoedge kubeconfig`: the path of the administrator's kubeconfig, to put into $KUBECONFIG."""

from __future__ import annotations

import argparse
import os

from octoedge.errors import InstallError
from octoedge.keadm import layout


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(_arguments: argparse.Namespace) -> int:
    known = layout.load(os.environ)
    if known is None or not known.kubeconfig.exists():
        raise InstallError(f"nothing is set up in {layout.locate(os.environ)}; `octoedge up` does it.")
    print(known.kubeconfig)
    return 0
