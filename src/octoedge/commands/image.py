"""`octoedge image import FILE.tar`, `octoedge image list`: images on a node without a registry.

archive → found whole, with names → containerd → the names that pods use
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

from octoedge.commands.asroot import ensure_root
from octoedge.errors import InstallError
from octoedge.keadm import archive, containerd, layout, register
from octoedge.keadm.layout import Layout
from octoedge.keadm.table import table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    text = "bring an archive (OCI or `docker save`, may be gzipped) onto a node"
    importing = actions.add_parser("import", help=text, description=text)
    importing.add_argument("file", type=Path, metavar="FILE.tar")
    importing.add_argument("--name", metavar="NAME:TAG", help="how to call an image that the archive gives no name")
    _add_node(importing)
    listing = actions.add_parser("list", help="the images on a node", description="The images on a node.")
    listing.add_argument("-o", "--output", choices=("text", "json"), default="text", help="for a person, or a program")
    _add_node(listing)


def _add_node(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--node", metavar="NAME", help="on which node (default: the first one)")


def run(arguments: argparse.Namespace) -> int:
    ensure_root()
    known = layout.existing(os.environ)
    node = register.load(known).node(arguments.node or known.node)
    if not containerd.answers(node):
        raise InstallError(f"the container runtime of {node.node} does not answer; `octoedge up` starts it.")
    if arguments.action == "list":
        _list(node, arguments.output)
    else:
        _import(node, arguments.file.absolute(), arguments.name or "")
    return 0


def _import(node: Layout, file: Path, name: str) -> None:
    from octoedge.edge.edged.images import normal_name

    if not file.is_file():
        raise InstallError(f"there is no file {file}.")
    with archive.unpacked(file, node.images) as plain:
        found = archive.images(plain)
        nameless = [image for image in found if not image.names]
        if nameless and not name:
            raise InstallError(f"{file} gives no name to its image; give it one: `--name NAME:TAG`.")
        if name and (len(found) > 1 or not nameless):
            given = ", ".join(one for image in found for one in image.names)
            raise InstallError(f"--name is for one image without a name; {file} has {given or 'several'}.")
        wanted = {image.digest: [normal_name(one) for one in image.names] for image in found if image.digest}
        brought = containerd.import_images(node, plain, wanted, normal_name(name) if name else "")
    for one in brought:
        print(f"imported {one}")


def _list(node: Layout, output: str) -> None:
    images = containerd.images(node)
    if output == "json":
        print(json.dumps({"images": [asdict(image) for image in images]}, indent=1))
        return
    print(table(("name", "size"), [(image.name, str(image.size)) for image in images]))
