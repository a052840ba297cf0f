"""`octoedge-mapper image FILE`: a mapper as an image archive, made of what is installed here, without a registry.

    thermometer.py ─► its protocol, what it imports ─► packages ─┐
    this machine's Python ───────────────────────────────────────┴─► three layers ─► thermometer.tar

The layers of Python and of the packages stay the same when only the file changes, so a node keeps them once.
"""

from __future__ import annotations

import ast
import importlib.metadata as metadata
import importlib.util
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from octoedge.errors import ConfigError
from octoedge.keadm import image, layered, pythontree
from octoedge.mappers.framework import run

PROGRAM = "usr/local/bin/octoedge-mapper"
FOLDER = "mapper"
"""Of the file, in the image."""
_SCRIPT = b"""#!/usr/local/bin/python3
import sys
from octoedge.commands.mapper import main
sys.exit(main())
"""
_NOT_IN_MAPPERS = ("cryptography",)
"""The agent joins a cloud by it, in a process of its own; a protocol that needs it says so itself."""
_NAME = re.compile(r"[a-z0-9]+([._/-]+[a-z0-9]+)*(:[0-9]+/[a-z0-9]+([._/-]+[a-z0-9]+)*)?:[\w][\w.-]{0,127}", re.ASCII)


def make(what: str, out: Path, name: str, more: Sequence[str]) -> str:
    """Put a mapper's file, or a protocol, with these packages too, into the archive; what there is to say of it.

    Raises `ConfigError`.
    """
    protocol = run.load(what).protocol
    file = Path(what) if what.endswith(".py") else None
    stem = re.sub(r"[^a-z0-9]+", "-", Path(what).stem.lower()).strip("-") or "own"
    name = name or f"octoedge.local/{stem}-mapper:1"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name[:100]!r} is no name of an image with a tag, as octoedge.local/{stem}:2")
    wanted = [*_offered(protocol), *_imported(file), *(one for text in more for one in pythontree.named(text))]
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as room:
            made = layered.write(out, name, _layers(file, wanted, Path(room)), config(file, protocol))
    except OSError as error:
        raise ConfigError(f"{out} cannot be made: {error}") from error
    sizes = f"{made.size / 1e6:.0f} MB, {made.unpacked / 1e6:.0f} MB on a node"
    return f"{name} for {image.architecture()}, {sizes}, {made.digest}"


def _layers(file: Path | None, wanted: Sequence[tuple[str, str]], room: Path) -> list[layered.Layer]:
    python = pythontree.python()
    packages = pythontree.packages(wanted, _NOT_IN_MAPPERS)
    packages |= pythontree.shared(packages.values())
    packages = {path: found for path, found in packages.items() if path not in python}
    own: layered.Layer = {PROGRAM: _SCRIPT} | ({f"{FOLDER}/{file.name}": file} if file is not None else {})
    return [python | pythontree.compiled(python, room), packages | pythontree.compiled(packages, room), own]


def config(file: Path | None, protocol: str) -> image.Json:
    """How the image is started: the mapper's file, or the protocol by itself."""
    return {
        "Env": [f"{key}={value}" for key, value in pythontree.ENVIRONMENT.items()],
        "Entrypoint": [f"/{PROGRAM}"],
        "Cmd": ["run", f"/{FOLDER}/{file.name}" if file is not None else protocol],
    }


def _offered(protocol: str) -> Iterator[tuple[str, str]]:
    """What runs a mapper of this protocol, ours or another's."""
    known = metadata.metadata("octoedge").get_all("Provides-Extra") or []
    yield "octoedge", ""
    yield "octoedge", protocol if protocol in known else "mapper"
    for entry in metadata.entry_points(group="octoedge.mappers", name=protocol):
        if entry.dist is not None:
            yield entry.dist.name, ""


def _imported(file: Path | None) -> Iterator[tuple[str, str]]:
    """Packages that the mapper's file imports, anywhere in it. Raises `ConfigError` for what is no package."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())) if file is not None else ():
        if isinstance(node, ast.Import):
            names |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    packages = metadata.packages_distributions()
    for top in sorted({name.partition(".")[0] for name in names} - sys.stdlib_module_names):
        for package in packages.get(top, ()):
            yield package, ""
        if top not in packages and importlib.util.find_spec(top) is not None:
            raise ConfigError(
                f"{file} imports {top}, which is no installed package: an image holds packages and one file"
            )
