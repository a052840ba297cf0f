"""Images made here are whole OCI archives, the same every time."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import stat
import tarfile
from typing import Any

from octoedge.keadm.image import HELLO, PAUSE, Image, archive, hello, pause

PROGRAM = b"\x7fELF not really"


def members(content: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {entry.name: (entry, _content(tar, entry)) for entry in tar}


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(entry) if entry.isreg() else None
    return file.read() if file else b""


def blob(files: dict[str, tuple[tarfile.TarInfo, bytes]], reference: dict[str, Any]) -> bytes:
    """A blob by its descriptor, whose digest and size must be true."""
    kind, _, digest = reference["digest"].partition(":")
    content = files[f"blobs/{kind}/{digest}"][1]
    assert hashlib.sha256(content).hexdigest() == digest
    assert len(content) == reference["size"]
    return content


def parts(image: Image) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Entry of the index, configuration, and the layer as plain tar."""
    files = members(archive(image))
    assert json.loads(files["oci-layout"][1]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(files["index.json"][1])["manifests"]
    manifest = json.loads(blob(files, entry))
    (layer,) = manifest["layers"]
    return entry, json.loads(blob(files, manifest["config"])), gzip.decompress(blob(files, layer))


def test_the_same_image_gives_the_same_bytes() -> None:
    assert archive(hello(PROGRAM)) == archive(hello(PROGRAM))


def test_the_index_names_the_image_for_containerd() -> None:
    for image, name in ((pause(PROGRAM), PAUSE), (hello(PROGRAM), HELLO)):
        entry, _, _ = parts(image)
        assert entry["annotations"]["io.containerd.image.name"] == name
        assert entry["platform"]["os"] == "linux"


def test_the_configuration_names_the_layer_by_its_plain_digest() -> None:
    _, config, layer = parts(pause(PROGRAM))
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer).hexdigest()]


def test_pause_runs_as_nobody() -> None:
    _, config, layer = parts(pause(PROGRAM))
    assert config["config"]["User"] == "65535:65535"
    assert config["config"]["Entrypoint"] == ["/pause"]
    assert members(layer)["pause"][0].mode & stat.S_IXOTH


def test_hello_holds_its_program_page_and_applets() -> None:
    _, config, layer = parts(hello(PROGRAM))
    files = members(layer)
    assert config["config"]["Entrypoint"] == ["/hello"]
    assert files["bin/busybox"][1] == PROGRAM
    assert files["bin/httpd"][0].linkname == "busybox"
    assert files["www/index.html"][1]
    assert files["tmp"][0].mode == 0o1777


def test_everything_in_a_layer_belongs_to_root_and_to_no_time() -> None:
    _, _, layer = parts(hello(PROGRAM))
    assert {(entry.uid, entry.gid, entry.mtime) for entry, _ in members(layer).values()} == {(0, 0, 0)}
