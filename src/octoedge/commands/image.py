"""`octoedge image import FILE.tar`: bring an OCI (or docker save) archive onto the node."""

from __future__ import annotations

import argparse
import os
import tarfile
from pathlib import Path

from octoedge.commands.asroot import ensure_root
from octoedge.errors import InstallError
from octoedge.keadm import containerd, layout, register


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    importing = actions.add_parser("import", help="import an archive", description="Import an OCI or docker archive.")
    importing.add_argument("file", type=Path, metavar="FILE.tar")
    importing.add_argument("--node", metavar="NAME", help="the node that is to have it (default: the first one)")


def run(arguments: argparse.Namespace) -> int:
    ensure_root()
    known = layout.load(os.environ)
    if known is None:
        raise InstallError(f"nothing is set up in {layout.locate(os.environ)}; `octoedge up` does it.")
    node = register.load(known).node(arguments.node or known.node)
    if not arguments.file.is_file() or not tarfile.is_tarfile(arguments.file):
        raise InstallError(f"{arguments.file} is not a tar archive; make one with `docker save` or `skopeo copy`.")
    names = containerd.import_archive(node, arguments.file.resolve())
    if not names:
        raise InstallError(f"{arguments.file} holds no image with a name for this machine.")
    print("\n".join(f"imported {name}" for name in names))
    return 0
