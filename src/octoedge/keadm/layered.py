"""Images of several layers, written to a file piece by piece: however large, a few megabytes of memory are enough.

    layers (path → file, bytes or link) ──tar──► digest ──gzip──► digest, blob on disk ─┐
                                                                 describe ──► config, manifest, index ─► OCI archive

What stays the same from version to version lies in layers of its own, which nodes keep once. The same content gives the
same bytes.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from octoedge.errors import ConfigError
from octoedge.keadm import image
from octoedge.store import durable

_LEVEL = 3
_MODE = 0o644


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


Layer = Mapping[str, "Path | bytes | Link"]
"""Path in the image, without the first slash → a file of this machine, content, or a link. Files may be read and run as
their owner may; folders come by themselves."""


@dataclass(frozen=True, slots=True)
class Written:
    """An image that was written."""

    size: int
    """Bytes of the archive."""
    unpacked: int
    """Bytes of the layers on a node."""
    digest: str
    """Of the index, by which two archives can be compared."""


def write(out: Path, name: str, layers: Sequence[Layer], run: image.Json) -> Written:
    """Put the image into the archive `out`, whole or not at all; `run` is its OCI config. Raises `ConfigError`."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
            return _write(out, Path(folder), name, layers, run)
    except OSError as error:
        hint = "; an image needs some 100 MB beside it while it is made" if error.errno == errno.ENOSPC else ""
        where = f" ({error.filename})" if error.filename not in (None, str(out), str(out.parent)) else ""
        raise ConfigError(f"{out} cannot be written: {error.strerror or error}{where}{hint}") from error


def _write(out: Path, folder: Path, name: str, layers: Sequence[Layer], run: image.Json) -> Written:
    blobs = [_blob(folder / str(number), layer) for number, layer in enumerate(layers)]
    described = image.describe(name, [(blob.diff, blob.descriptor) for blob in blobs], run)
    fresh = folder / "archive"
    with fresh.open("xb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for path, content in described.items():
                _add(tar, path, io.BytesIO(content), len(content), _MODE)
            for path, blob in {f"blobs/sha256/{blob.digest}": blob for blob in blobs}.items():
                with blob.path.open("rb") as packed:
                    _add(tar, path, packed, blob.size, _MODE)
        file.flush()
        os.fchmod(file.fileno(), _MODE)
        os.fsync(file.fileno())
    size = fresh.stat().st_size
    durable.move(fresh, out)
    digest = hashlib.sha256(described["index.json"]).hexdigest()
    return Written(size, sum(blob.unpacked for blob in blobs), f"sha256:{digest}")


@dataclass(frozen=True, slots=True)
class _Blob:
    path: Path
    diff: str
    unpacked: int
    digest: str
    size: int

    @property
    def descriptor(self) -> image.Json:
        return image.descriptor(image.LAYER_TYPE, self.digest, self.size)


class _Counting:
    """Passes bytes on, and knows their number and digest."""

    def __init__(self, to: IO[bytes]) -> None:
        self._to = to
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self.size += len(data)
        return self._to.write(data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._to.flush()


def _blob(path: Path, layer: Layer) -> _Blob:
    with path.open("xb") as file:
        packed = _Counting(file)
        with gzip.GzipFile(
            filename="", mode="wb", compresslevel=_LEVEL, fileobj=cast("IO[bytes]", packed), mtime=0
        ) as zipped:
            plain = _Counting(cast("IO[bytes]", zipped))
            with tarfile.open(fileobj=cast("IO[bytes]", plain), mode="w", format=tarfile.USTAR_FORMAT) as tar:
                _fill(tar, layer)
        return _Blob(path, plain.digest, plain.size, packed.digest, packed.size)


def _fill(tar: tarfile.TarFile, layer: Layer) -> None:
    for folder in sorted({str(one) for path in layer for one in PurePosixPath(path).parents} - {"."}):
        tar.addfile(image.entry(folder, tarfile.DIRTYPE, 0o755))
    for path, content in sorted(layer.items()):
        if isinstance(content, Link):
            made = image.entry(path, tarfile.SYMTYPE, 0o777)
            made.linkname = content.target
            tar.addfile(made)
        elif isinstance(content, Path):
            with content.open("rb") as file:
                found = os.fstat(file.fileno())
                _add(tar, path, file, found.st_size, 0o755 if found.st_mode & 0o100 else _MODE)
        else:
            _add(tar, path, io.BytesIO(content), len(content), 0o755 if content.startswith(b"#!") else _MODE)


def _add(tar: tarfile.TarFile, path: str, content: IO[bytes], size: int, mode: int) -> None:
    made = image.entry(path, tarfile.REGTYPE, mode)
    made.size = size
    tar.addfile(made, content)
