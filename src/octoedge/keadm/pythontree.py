"""The Python of this machine as layers of an image: nothing is fetched, what is installed here is what runs there.

    interpreter, standard library ─┬─► shared libraries (as the loader finds them) ─► layer "python"
    packages, by their metadata ───┴─► their files, and what they require ──────────► layer "packages"

Modules are compiled once, here: a container with a read-only file system would do it at each start. Tests, headers,
windows and terminals stay behind.
"""

from __future__ import annotations

import importlib.metadata as metadata
import importlib.util
import json
import os
import re
import ssl
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from octoedge.errors import ConfigError
from octoedge.keadm.layered import Layer, Link

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
STDLIB, PACKAGES = f"usr/local/{sys.platlibdir}/{VERSION}", "usr/local/lib/octoedge"
"""Where they are in the image."""
LIBRARIES = "usr/local/lib/shared"
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
ENVIRONMENT = {
    "PATH": "/usr/local/bin",
    "LANG": "C.UTF-8",
    "LD_LIBRARY_PATH": f"/{LIBRARIES}",
    "PYTHONPATH": f"/{PACKAGES}",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "SSL_CERT_FILE": f"/{CERTIFICATES}",
}
_SYSTEM: Layer = {
    "etc/passwd": b"root:x:0:0:root:/:/none\nnobody:x:65534:65534:nobody:/:/none\n",
    "etc/group": b"root:x:0:\nnobody:x:65534:\n",
    "etc/nsswitch.conf": b"hosts: files dns\n",
}
_FOLDERS_LEFT = frozenset(
    (
        "__pycache__", "test", "tests", "idle_test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3",
        "distutils", "pydoc_data", "venv", "site-packages", "dist-packages",
    )
)  # fmt: skip
_SUFFIXES_LEFT = frozenset((".pyc", ".pyi", ".pyx", ".pxd", ".c", ".h", ".a", ".whl"))
_EXTENSIONS_LEFT = re.compile(r"(_test|xx|_xx|_ctypes_test|_tkinter|_curses|readline|nis|_dbm|_gdbm|ossaudiodev)")
_NOTES = ("METADATA", "entry_points.txt")
_BESIDE_LIBC = ("libgcc_s.so.1", "libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")
"""What glibc opens only when it is needed: to end threads, and to look up names."""
_REQUIREMENT = re.compile(r"\s*(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:\[(?P<extras>[^\]]*)\])?[^;]*(?:;(?P<marker>.*))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
_LIBRARY = re.compile(r"^\s*(?:(?P<name>\S+) => )?(?P<path>/\S+) \(0x[0-9a-f]+\)$")
_COMPILE = """
import json, py_compile, sys
for source, name, target in json.load(sys.stdin):
    try:
        py_compile.compile(source, target, name, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    except py_compile.PyCompileError:
        pass
"""  # noqa: E501


def python() -> dict[str, Path | bytes | Link]:
    """The interpreter with its standard library and the shared libraries of both. Raises `ConfigError`."""
    program = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
    files = {f"{STDLIB}/{path}": found for path, found in _standard(Path(sysconfig.get_path("stdlib")))}
    files[f"usr/local/bin/{VERSION}"] = program
    certificates = ssl.get_default_verify_paths().cafile
    if certificates:
        files[CERTIFICATES] = Path(certificates).resolve()
    return {**files, **shared(files.values()), **_SYSTEM, "usr/local/bin/python3": Link(VERSION)}


def packages(wanted: Iterable[tuple[str, str]], without: Iterable[str] = ()) -> dict[str, Path]:
    """Distributions (name, extra or nothing) with all that they require but `without`. Raises `ConfigError`."""
    files: dict[str, Path] = {}
    for name in closure(wanted, without):
        files |= {f"{PACKAGES}/{path}": found for path, found in _package(metadata.distribution(name))}
    return files


def closure(wanted: Iterable[tuple[str, str]], without: Iterable[str] = ()) -> list[str]:
    """Names of distributions: those that are wanted, and what they require. Raises `ConfigError`."""
    left, waiting, seen = {_plain(name) for name in without}, list(wanted), set[tuple[str, str]]()
    while waiting:
        name, extra = waiting.pop()
        one = (_plain(name), extra)
        if one in seen or one[0] in left:
            continue
        seen.add(one)
        waiting += _required(name, extra)
    return sorted({name for name, _ in seen})


def _required(name: str, extra: str) -> Iterator[tuple[str, str]]:
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError as error:
        raise ConfigError(f"the package {name} is not installed here; `pip install {name}`") from error
    for line in lines:
        found = _REQUIREMENT.fullmatch(line)
        if found is None:
            raise ConfigError(f"the package {name} requires {line[:100]!r}, which cannot be understood")
        marker, extras = found["marker"] or "", _EXTRA.findall(found["marker"] or "")
        if extras and extra not in extras:
            continue
        # A marker of platform or version is not judged: what is here is what was needed here.
        if _EXTRA.sub("", marker).strip(" ()") and not _is_installed(found["name"]):
            continue
        yield from _with_extras(found)


def named(requirement: str) -> list[tuple[str, str]]:
    """What `NAME` or `NAME[EXTRA,…]` asks for. Raises `ConfigError`."""
    found = _REQUIREMENT.fullmatch(requirement)
    if found is None:
        raise ConfigError(f"{requirement[:100]!r} is no package, as NAME or NAME[EXTRA]")
    return list(_with_extras(found))


def _with_extras(found: re.Match[str]) -> Iterator[tuple[str, str]]:
    for extra in ("", *(part.strip() for part in (found["extras"] or "").split(",") if part.strip())):
        yield found["name"], extra


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _package(package: metadata.Distribution) -> Iterator[tuple[str, Path]]:
    """Its files by their path below the folder of packages, with its licences and what its metadata must say."""
    name = package.metadata["Name"]
    listed = [Path(str(file)) for file in package.files or () if not str(file).startswith(("..", "/"))]
    if _is_editable(package):
        yield from _modules((package.read_text("top_level.txt") or name.replace("-", "_")).split(), name)
        listed = [path for path in listed if path.parts[0].endswith(".dist-info")]
    if package.read_text("METADATA") is None or not listed:
        raise ConfigError(f"the package {name} does not say which files it has; install it by pip")
    for path in listed:
        found = Path(str(package.locate_file(path)))
        notes = path.parts[0].endswith(".dist-info")
        if found.is_file() and (_is_note(path) if notes else _is_wanted(path)):
            yield path.as_posix(), found


def _is_note(path: Path) -> bool:
    return path.name in _NOTES or path.stem.upper() in ("LICENSE", "LICENCE", "NOTICE", "COPYING")


def _is_editable(package: metadata.Distribution) -> bool:
    said = json.loads(package.read_text("direct_url.json") or "{}")
    return bool(said.get("dir_info", {}).get("editable"))


def _modules(names: Sequence[str], package: str) -> Iterator[tuple[str, Path]]:
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ConfigError(f"the module {name} of the package {package} cannot be found here")
        origin = Path(spec.origin)
        if origin.name != "__init__.py":
            yield origin.name, origin
            continue
        for path, found in _tree(origin.parent, _is_wanted):
            yield f"{name}/{path}", found


def _standard(folder: Path) -> Iterator[tuple[str, Path]]:
    extensions = folder / "lib-dynload"
    yield from _tree(folder, lambda path: _is_wanted(path) and not path.parts[0].startswith(("config-", "lib-dynload")))
    for path, found in _tree(extensions, lambda path: not _EXTENSIONS_LEFT.match(path.name)):
        yield f"lib-dynload/{path}", found


def _tree(folder: Path, wanted: Callable[[Path], bool]) -> Iterator[tuple[str, Path]]:
    for where, below, files in os.walk(folder):
        here = Path(where)
        below[:] = [name for name in below if name not in _FOLDERS_LEFT]
        for name in files:
            path = (here / name).relative_to(folder)
            if wanted(path) and (here / name).exists():
                yield path.as_posix(), here / name


def _is_wanted(path: Path) -> bool:
    return path.suffix not in _SUFFIXES_LEFT and "__pycache__" not in path.parts


def shared(files: Iterable[Path]) -> dict[str, Path]:
    """What the loader brings to these programs and extensions, and the loader. Raises `ConfigError`."""
    binaries = [file for file in files if ".so" in file.name or (os.access(file, os.X_OK) and _is_elf(file))]
    asked = subprocess.run(("ldd", *binaries), capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    found: dict[str, Path] = {}
    for line in asked.stdout.splitlines():
        if "=> not found" in line:
            raise ConfigError(f"a library that Python needs is missing on this machine: {line.strip()}")
        match = _LIBRARY.match(line)
        if match is not None:
            path = Path(match["path"])
            # The loader is found by its path, everything else by its name.
            found[f"{LIBRARIES}/{match['name']}" if match["name"] else match["path"].lstrip("/")] = path.resolve()
            found |= _beside(path) if path.name.startswith("libc.so") else {}
    if not found:
        raise ConfigError(f"`ldd` does not say which libraries {sys.executable} needs: {asked.stderr.strip()[:300]}")
    return found


def _beside(libc: Path) -> dict[str, Path]:
    return {f"{LIBRARIES}/{one}": libc.with_name(one).resolve() for one in _BESIDE_LIBC if libc.with_name(one).exists()}


def _is_elf(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) == b"\x7fELF"


def compiled(layer: Mapping[str, Path | bytes | Link], room: Path) -> dict[str, Path]:
    """The modules of a layer, compiled into the folder `room`; what cannot be compiled is left."""
    folder = Path(tempfile.mkdtemp(dir=room))
    sources = [
        (path, found) for path, found in sorted(layer.items()) if path.endswith(".py") and isinstance(found, Path)
    ]
    tag, made = sys.implementation.cache_tag, dict[str, Path]()
    for number, (path, _) in enumerate(sources):
        place = Path(path)
        made[(place.parent / "__pycache__" / f"{place.stem}.{tag}.pyc").as_posix()] = folder / str(number)
    work = [(str(found), f"/{path}", str(target)) for (path, found), target in zip(sources, made.values(), strict=True)]
    command = (sys.executable, "-I", "-S", "-W", "ignore", "-c", _COMPILE)
    # Alone, in one order: the same sources give the same bytes.
    done = subprocess.run(command, input=json.dumps(work), capture_output=True, text=True)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise ConfigError(f"the modules of the image cannot be compiled: {why[-300:]}")
    return {path: target for path, target in made.items() if target.exists()}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
