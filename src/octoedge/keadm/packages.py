"""The field's own programs, from Debian's packages: only the missing ones, nothing removed, nothing started.

`plan` finds out what is missing and whether apt can get it, without changing the machine (fresh package lists go to a
folder of their own); `install` then does it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from octoedge.errors import InstallError
from octoedge.keadm.containerd import plugin_folder
from octoedge.keadm.host import Problem
from octoedge.keadm.image import read_busybox
from octoedge.keadm.processes import find_program

POLICY = Path("/usr/sbin/policy-rc.d")
SERVICES = ("containerd", "mosquitto", "redis-server")


def _has(program: str) -> Callable[[], bool]:
    return lambda: find_program(program) is not None


def _works(probe: Callable[[], object]) -> Callable[[], bool]:
    def present() -> bool:
        try:
            probe()
        except InstallError:
            return False
        return True

    return present


def _has_venv() -> bool:
    # Debian's own Python leaves ensurepip to a package; found without importing it.
    return any((Path(folder) / "ensurepip").is_dir() for folder in sys.path if folder)


PRESENT: dict[str, Callable[[], bool]] = {
    "containerd": _has("containerd"),
    "runc": _has("runc"),
    "containernetworking-plugins": _works(plugin_folder),
    "iptables": _has("iptables"),
    "iproute2": _has("ip"),
    "mosquitto": _has("mosquitto"),
    "busybox-static": _works(read_busybox),
    "python3-venv": _has_venv,
}
"""How each package is recognised: by what is needed from it, wherever that came from."""
FAKETIME = "faketime/libfaketimeMT.so.1"
FOR_TESTS = {
    "curl": _has("curl"), "libfaketime": lambda: faketime() is not None, "dbus": _has("dbus-daemon"),
    "redis-server": _has("redis-server"), "mariadb-server-core": _has("mariadbd"),
}  # fmt: skip
"""What the tests need on top: the README's commands, processes whose clock is wrong, a bus for Bluetooth, databases
that mappers push to (9 MB to fetch)."""


def faketime() -> Path | None:
    """The library that gives a program another clock than the machine's, where it is there."""
    return next(iter(sorted(Path("/usr/lib").glob(f"*/{FAKETIME}"))), None)


@dataclass(frozen=True, slots=True)
class Plan:
    """What apt is to install, and with which package lists."""

    missing: tuple[str, ...]
    lists: Path | None = None

    @property
    def options(self) -> tuple[str, ...]:
        if self.lists is None:
            return ()
        settings = (f"Dir::State::lists={self.lists}", "Dir::Cache::pkgcache=", "Dir::Cache::srcpkgcache=")
        return tuple(word for setting in settings for word in ("-o", setting))


def missing(*, tests: bool = False) -> tuple[str, ...]:
    """The packages whose programs are not on this machine."""
    needed = PRESENT | FOR_TESTS if tests else PRESENT
    return tuple(package for package, present in needed.items() if not present())


@contextlib.contextmanager
def plan(*, tests: bool = False) -> Iterator[tuple[Plan, list[Problem]]]:
    """What to install, and what keeps apt from it; the folder of fresh lists lives as long as the context."""
    wanted = missing(tests=tests)
    if not wanted:
        yield Plan(()), []
        return
    if find_program("apt-get") is None:
        yield Plan(wanted), [Problem(f"missing: {' '.join(wanted)}; and there is no apt-get", "install them by hand")]
        return
    words = simulate(Plan(wanted))
    if not words:
        yield Plan(wanted), []
        return
    with tempfile.TemporaryDirectory(prefix="octoedge-apt-") as folder:
        os.chmod(folder, 0o755)  # noqa: S103 - apt reads its lists as a user of its own
        (Path(folder) / "partial").mkdir()
        fresh = Plan(wanted, Path(folder))
        words = _run(("apt-get", *fresh.options, "-qq", "update")) or simulate(fresh)
        yield fresh, [_unobtainable(wanted, words)] if words else []


def install(plan: Plan) -> None:
    """Install what is missing. Raises `InstallError` with apt's own words."""
    with _no_service_starts():
        words = _run(("apt-get", *plan.options, *_install_options(), *plan.missing))
    if words:
        raise InstallError(f"apt-get could not install {' '.join(plan.missing)}:\n{words}")
    left = [package for package in missing(tests=True) if package in plan.missing]
    if left:
        raise InstallError(f"{' '.join(left)} was installed, but what is needed from it is still not found.")
    _leave_disabled(plan.missing)


def _unobtainable(wanted: Sequence[str], words: str) -> Problem:
    errors = [line for line in words.splitlines() if not line.startswith("W:")]
    return Problem(
        "\n      ".join((f"missing, and apt cannot get it: {' '.join(wanted)}", *errors)),
        "see to the package sources (/etc/apt) and the network, or install the packages by hand",
    )


def simulate(plan: Plan) -> str:
    """What apt complains of when it only pretends; empty when it would succeed."""
    return _run(("apt-get", *plan.options, "--simulate", *_install_options(), *plan.missing), as_root=False)


def _install_options() -> tuple[str, ...]:
    return ("-qq", "-y", "--no-install-recommends", "--no-remove", "install")


def _run(command: Sequence[str], *, as_root: bool = True) -> str:
    """What the command complained of; empty when it succeeded."""
    prefix = ("sudo", "--") if as_root and os.geteuid() != 0 else ()
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "NEEDRESTART_SUSPEND": "1"}
    done = subprocess.run((*prefix, *command), capture_output=True, text=True, errors="replace", env=environment)
    return (done.stderr or done.stdout or f"status {done.returncode}") if done.returncode else ""


@contextlib.contextmanager
def _no_service_starts() -> Iterator[None]:
    """While it lasts, packages do not start their services; the machine's own policy, if it has one, is left alone."""
    if POLICY.exists() or POLICY.is_symlink():
        yield
        return
    try:
        _write_policy()
        yield
    finally:
        _run(("rm", "-f", str(POLICY)))


def _write_policy() -> None:
    with tempfile.NamedTemporaryFile("w", prefix="octoedge-policy-") as draft:
        draft.write("#!/bin/sh\n# Octoedge installs packages right now; services are not to be started.\nexit 101\n")
        draft.flush()
        words = _run(("install", "-m", "0755", draft.name, str(POLICY)))
    if words:
        raise InstallError(f"{POLICY} could not be written, without which packages would start services: {words}")


def _leave_disabled(packages: Sequence[str]) -> None:
    """A service that came along with a package stays off at the next boot too; ours are started by us."""
    units = [f"{package}.service" for package in packages if package in SERVICES]
    if units and Path("/run/systemd/system").is_dir():
        _run(("systemctl", "disable", "--quiet", *units))
