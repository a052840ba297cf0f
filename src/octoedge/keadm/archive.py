"""Image archives before they are brought onto a node: OCI layouts and what `docker save` writes, packed or not.

    file ─► unpacked ─► members, blobs checked by their digests ─► index.json | manifest.json ─► images with names

containerd takes some damaged archives without a word, and then pods do not start; here each gets a sentence.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import json
import lzma
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from octoedge.errors import InstallError
from octoedge.keadm.image import architecture

Json = dict[str, Any]

MAX_JSON = 4 << 20
MAX_DEPTH = 3
_CHUNK = 1 << 20
_PACKED: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_ZSTD = b"\x28\xb5\x2f\xfd"
_BROKEN = (tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError, OSError)
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass(frozen=True, slots=True)
class Found:
    """One image of an archive."""

    digest: str
    """Of its manifest or index; empty in a `docker save` archive, where it comes about at the import."""
    names: tuple[str, ...]


@contextlib.contextmanager
def unpacked(path: Path, room: Path) -> Iterator[Path]:
    """The archive as a plain tar file; a packed one is unpacked into the folder `room` meanwhile. `InstallError`."""
    try:
        with path.open("rb") as file:
            head = file.read(6)
    except OSError as problem:
        raise InstallError(f"{path} cannot be read: {problem.strerror}.") from problem
    if head.startswith(_ZSTD):
        raise InstallError(f"{path} is packed with zstd, which is not understood here; unpack it first by `unzstd`.")
    opener = next((one for magic, one in _PACKED.items() if head.startswith(magic)), None)
    if opener is None:
        yield path
        return
    with tempfile.NamedTemporaryFile(dir=room, prefix=".unpacking-") as plain:
        try:
            with opener(path) as packed:
                shutil.copyfileobj(packed, plain, _CHUNK)
            plain.flush()
        except _BROKEN as problem:
            raise InstallError(f"{path} cannot be unpacked: {problem}. Is it whole?") from problem
        yield Path(plain.name)


def images(path: Path) -> list[Found]:
    """What a plain archive holds for this machine, found whole. Raises `InstallError`."""
    try:
        with tarfile.open(path, "r:") as tar:
            return _images(tar, path)
    except _BROKEN as problem:
        raise InstallError(
            f"{path} is not a whole tar archive ({problem}); make one with `docker save` or `skopeo copy`."
        ) from problem


def _images(tar: tarfile.TarFile, path: Path) -> list[Found]:
    members = {member.name.removeprefix("./"): member for member in tar if member.isfile() or member.issym()}
    archive = _Archive(tar, members, path)
    archive.check_blobs()
    if "index.json" in members:
        found = list(archive.of_oci())
    elif "manifest.json" in members:
        found = list(archive.of_docker())
    else:
        raise InstallError(
            f"{path} is a tar archive, but not one of images: it has neither index.json nor manifest.json. Make one"
            " with `docker save` or `skopeo copy`."
        )
    if not found:
        raise InstallError(f"{path} holds no image for this machine ({architecture()}).")
    return found


@dataclass(frozen=True, slots=True)
class _Archive:
    tar: tarfile.TarFile
    members: dict[str, tarfile.TarInfo]
    path: Path

    def check_blobs(self) -> None:
        """Every blob is what its name says."""
        for name, member in self.members.items():
            folder, _, digest = name.rpartition("/")
            if folder == "blobs/sha256" and _sha256(self._open(member)) != digest:
                raise InstallError(f"{self.path} is damaged: {name} is not what its name says. Make it anew.")

    def of_oci(self) -> Iterator[Found]:
        for entry in _list(self._json("index.json").get("manifests")):
            if self._suits(entry):
                notes = entry.get("annotations") or {}
                names = [str(notes[key]) for key in _NAMES if notes.get(key)][:1]
                yield Found(str(entry.get("digest", "")), tuple(name for name in names if "/" in name or ":" in name))

    def of_docker(self) -> Iterator[Found]:
        for entry in _list(self._read("manifest.json")):
            for name in (entry.get("Config"), *(entry.get("Layers") or ())):
                if name not in self.members:
                    raise InstallError(f"{self.path} is not whole: {name} is missing. Make it anew.")
            self._check_architecture([str(self._json(entry["Config"]).get("architecture") or architecture())])
            yield Found("", tuple(map(str, entry.get("RepoTags") or ())))

    def _suits(self, entry: Json, depth: int = 0) -> bool:
        """Whether there is something for this machine below that entry, and all of it."""
        name = "blobs/" + str(entry.get("digest", "")).replace(":", "/", 1)
        if _architecture(entry) not in ("", architecture()):
            return False
        if name not in self.members:
            raise InstallError(f"{self.path} is not whole: {name} is missing. Make it anew.")
        content = self._json(name)
        below = _list(content.get("manifests"))
        if below and depth < MAX_DEPTH:
            # Of an image for many machines, archives often hold one.
            return any(self._suits(one, depth + 1) for one in below if _architecture(one) in ("", architecture()))
        for part in (content.get("config") or {}, *_list(content.get("layers"))):
            blob = "blobs/" + str(part.get("digest", "")).replace(":", "/", 1)
            if blob not in self.members:
                raise InstallError(f"{self.path} is not whole: {blob} is missing. Make it anew.")
        return True

    def _check_architecture(self, found: list[str]) -> None:
        if architecture() not in found:
            raise InstallError(f"{self.path} is for {', '.join(found)}; this machine is {architecture()}.")

    def _json(self, name: str) -> Json:
        content = self._read(name)
        if not isinstance(content, dict):
            raise InstallError(f"{self.path} is damaged: {name} is not a JSON object. Make it anew.")
        return content

    def _read(self, name: str) -> Any:
        member = self.members[name]
        if member.size > MAX_JSON:
            raise InstallError(f"{self.path} is damaged: {name} has {member.size} bytes. Make it anew.")
        try:
            return json.loads(self._open(member).read(MAX_JSON))
        except (ValueError, RecursionError) as problem:
            raise InstallError(f"{self.path} is damaged: {name} is not JSON ({problem}). Make it anew.") from problem

    def _open(self, member: tarfile.TarInfo) -> IO[bytes]:
        file = self.tar.extractfile(member)
        if file is None:
            raise InstallError(f"{self.path} is damaged: {member.name} leads nowhere. Make it anew.")
        return file


def _architecture(entry: Json) -> str:
    return str((entry.get("platform") or {}).get("architecture", ""))


def _list(value: Any) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _sha256(file: IO[bytes]) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
