"""Every kind of image archive is understood, and every kind of damage is a sentence."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from octoedge.errors import InstallError
from octoedge.keadm import archive, image
from octoedge.keadm.archive import Found

Files = dict[str, bytes]
NAME = "octoedge.local/x:1"
OCI = image.archive(image.Image(NAME, {"bin/sh": (b"#!", 0o755)}))


def files_of(content: bytes) -> Files:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def tar_of(files: Files) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def oci(change: Callable[[dict[str, object]], None] = lambda _: None) -> bytes:
    """The archive with another first entry in its index."""
    files = files_of(OCI)
    index = json.loads(files["index.json"])
    change(index["manifests"][0])
    return tar_of({**files, "index.json": json.dumps(index).encode()})


def docker(tags: list[str] | None, architecture: str = "", layers: bool = True) -> bytes:
    config = json.dumps({"architecture": architecture or image.architecture()}).encode()
    entry = {"Config": "c.json", "RepoTags": tags, "Layers": ["1/layer.tar"]}
    return tar_of(
        {"c.json": config, "manifest.json": json.dumps([entry]).encode(), **({"1/layer.tar": b""} if layers else {})}
    )


def read(folder: Path, content: bytes) -> list[Found]:
    path = folder / "some.tar"
    path.write_bytes(content)
    with archive.unpacked(path, folder) as plain:
        return archive.images(plain)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_packed_archive_is_as_good(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    (found,) = read(tmp_path, pack(OCI))
    assert found.names == (NAME,)
    assert found.digest.startswith("sha256:")
    assert [path.name for path in tmp_path.iterdir()] == ["some.tar"]


@pytest.mark.parametrize(
    ("notes", "names"),
    [
        ({"org.opencontainers.image.ref.name": "docker.io/library/a:3"}, ("docker.io/library/a:3",)),
        ({"org.opencontainers.image.ref.name": "a:3"}, ("a:3",)),
        ({"org.opencontainers.image.ref.name": "v1"}, ()),
        ({"io.containerd.image.name": "x/y:1", "org.opencontainers.image.ref.name": "1"}, ("x/y:1",)),
        ({}, ()),
    ],
)
def test_the_names_that_an_oci_archive_gives(tmp_path: Path, notes: dict[str, str], names: tuple[str, ...]) -> None:
    (found,) = read(tmp_path, oci(lambda entry: entry.update(annotations=notes)))
    assert found.names == names


@pytest.mark.parametrize("tags", [["a:1", "b/c:2"], [], None])
def test_what_docker_saves_is_understood(tmp_path: Path, tags: list[str] | None) -> None:
    assert read(tmp_path, docker(tags)) == [Found("", tuple(tags or ()))]


def test_of_an_image_for_many_machines_ours_is_enough(tmp_path: Path) -> None:
    files = files_of(OCI)
    index = json.loads(files["index.json"])
    here = index["manifests"][0]
    elsewhere = {**here, "digest": "sha256:" + "0" * 64, "platform": {"architecture": "s390x", "os": "linux"}}
    nested = json.dumps({"manifests": [elsewhere, here]}).encode()
    digest = hashlib.sha256(nested).hexdigest()
    outer = {"digest": f"sha256:{digest}", "annotations": {"io.containerd.image.name": NAME}}
    content = {**files, f"blobs/sha256/{digest}": nested, "index.json": json.dumps({"manifests": [outer]}).encode()}
    assert read(tmp_path, tar_of(content)) == [Found(f"sha256:{digest}", (NAME,))]


def without_a_blob(files: Files) -> Files:
    blob = max(name for name in files if name.startswith("blobs/"))
    return {name: content for name, content in files.items() if name != blob}


def with_a_wrong_blob(files: Files) -> Files:
    blob = max(name for name in files if name.startswith("blobs/"))
    return {**files, blob: files[blob] + b"x"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not a whole tar archive"),
        (b"no tar at all" * 100, "not a whole tar archive"),
        (OCI[:1400], "not a whole tar archive|neither index.json"),
        (gzip.compress(OCI)[:-20], "cannot be unpacked: .* Is it whole"),
        (b"\x28\xb5\x2f\xfdabc", "packed with zstd"),
        (tar_of({}), "neither index.json nor manifest.json"),
        (tar_of({"a": b"b"}), "neither index.json nor manifest.json"),
        (tar_of({"index.json": b"{"}), "index.json is not JSON"),
        (tar_of({"index.json": b"[]"}), "index.json is not a JSON object"),
        (tar_of({"index.json": b"[" * 100000}), "index.json is not JSON"),
        (tar_of({"index.json": b"{}"}), "holds no image for this machine"),
        (tar_of({"index.json": b" " * (5 << 20)}), "index.json has 5242880 bytes"),
        (tar_of(without_a_blob(files_of(OCI))), "blobs/sha256/.* is missing"),
        (tar_of(with_a_wrong_blob(files_of(OCI))), "blobs/sha256/.* is not what its name says"),
        (oci(lambda entry: entry.update(platform={"architecture": "s390x"})), "holds no image for this machine"),
        (oci(lambda entry: entry.update(digest=7)), "is missing"),
        (docker(["a:1"], layers=False), r"1/layer\.tar is missing"),
        (docker(["a:1"], architecture="s390x"), "is for s390x; this machine is"),
    ],
)
def test_damage_is_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(InstallError, match=sentence):
        read(tmp_path, content)
    assert [path.name for path in tmp_path.iterdir()] == ["some.tar"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="cannot be read: No such file"), archive.unpacked(tmp_path / "x", tmp_path):
        pass


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_whatever_is_changed_it_is_taken_or_told(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(OCI)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InstallError):
        read(tmp_path, bytes(content[: data.draw(st.integers(0, len(content)))]))
