"""Images of several layers: whole, the same every time, and on disk entirely or not at all."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from octoedge.errors import ConfigError
from octoedge.keadm import archive
from octoedge.keadm.layered import Layer, Link, write

NAME = "octoedge.local/mine:1"


def layers(folder: Path) -> list[Layer]:
    program = folder / "program"
    program.write_bytes(b"\x7fELF not really")
    program.chmod(0o755)
    return [
        {"usr/bin/program": program, "usr/bin/other": Link("program"), "etc/name": b"mine\n"},
        {"run": b"#!/usr/bin/program\n"},
    ]


def content(path: Path) -> tuple[dict[str, Any], list[tarfile.TarFile]]:
    """The image's configuration, and its layers."""
    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]

    def blob(one: dict[str, str]) -> bytes:
        return files["blobs/" + one["digest"].replace(":", "/")]

    (entry,) = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(blob(entry))
    plain = [io.BytesIO(gzip.decompress(blob(one))) for one in manifest["layers"]]
    return json.loads(blob(manifest["config"])), [tarfile.TarFile(fileobj=one) for one in plain]


def test_an_archive_is_whole_and_holds_what_was_given(tmp_path: Path) -> None:
    out = tmp_path / "mine.tar"
    made = write(out, NAME, layers(tmp_path), {"Cmd": ["/run"]})
    assert [found.names for found in archive.images(out)] == [(NAME,)]
    assert made.size == out.stat().st_size
    config, (first, second) = content(out)
    assert config["config"] == {"Cmd": ["/run"]}
    assert first.getnames() == ["etc", "usr", "usr/bin", "etc/name", "usr/bin/other", "usr/bin/program"]
    assert first.getmember("usr/bin/program").mode == 0o755
    assert first.getmember("usr/bin/other").linkname == "program"
    assert first.getmember("etc/name").mode == 0o644
    assert second.getmember("run").mode == 0o755


def test_the_same_content_gives_the_same_bytes_and_a_change_only_its_own_layer(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one.tar", "same.tar", "other.tar"))
    given = layers(tmp_path)
    digests = [write(out, NAME, given, {}).digest for out in (one, same)]
    assert one.read_bytes() == same.read_bytes()
    assert digests[0] == digests[1] != write(other, NAME, [given[0], {"run": b"#!/other\n"}], {}).digest
    diffs = [content(out)[0]["rootfs"]["diff_ids"] for out in (one, other)]
    assert diffs[0][0] == diffs[1][0]
    assert diffs[0][1] != diffs[1][1]


def test_what_cannot_be_written_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing/mine\.tar cannot be written: No such file"):
        write(tmp_path / "missing" / "mine.tar", NAME, layers(tmp_path), {})
    out = tmp_path / "mine.tar"
    out.write_text("before")
    with pytest.raises(ConfigError, match=r"cannot be written: No such file or directory \(.*gone\)"):
        write(out, NAME, [{"gone": tmp_path / "gone"}], {})
    assert out.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"program", "mine.tar"}


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    zeros = tmp_path / "mine.tar"
    with pytest.raises(ConfigError, match=r"No space left on device.*100 MB"):
        write(zeros, NAME, [_Full()], {})


class _Full(dict[str, "Path | bytes | Link"]):
    """A layer that the disk has no room for."""

    def items(self) -> Any:
        raise OSError(28, "No space left on device")
