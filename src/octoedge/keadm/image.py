"""Container images made here, from the machine's own static busybox: no registry and no compiler is needed.

    busybox ──layer──► tar ──gzip──► blob ─┐
                         └─ diff id ► config ─► manifest ─► index.json ─► one OCI archive, byte for byte repeatable

`octoedge.local/pause:1` holds a pod's namespaces; `octoedge.local/hello:1` is the sample's web server.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from octoedge.errors import InstallError
from octoedge.keadm.processes import find_program

PAUSE = "octoedge.local/pause:1"
HELLO = "octoedge.local/hello:1"

PAUSE_SCRIPT = b"#!/bin/sh\ntrap 'exit 0' TERM INT\nwhile :; do sleep 2147483 & wait $!; done\n"
HELLO_SCRIPT = b"""#!/bin/sh
# Serves /www on $PORT until told to stop; one line on the log first, so that there is something to read.
port=${PORT:-30080}
trap 'echo "stopping"; kill $server; exit 0' TERM INT
echo "hello from $(hostname): serving /www on port $port"
httpd -f -vv -p "$port" -h /www &
server=$!
wait $server
"""

APPLETS = """
    [ ash awk cat chmod chown cp cut date dd df du echo env expr false find grep head hostname httpd id ip kill less ln
    ls md5sum mkdir mount mv nc netstat nproc nslookup ping printf ps pwd readlink rm rmdir sed seq sh sha256sum sleep
    sort stat sync tail tar tee test timeout top touch tr true umount uname uniq usleep vi wc wget which xargs yes
""".split()  # noqa: SIM905 - a page of quotation marks reads worse

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "riscv64": "riscv64"}

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True, slots=True)
class Image:
    """What an image is to hold and to run."""

    name: str
    files: Mapping[str, tuple[bytes, int]]
    links: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, int] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    user: str = ""


def pause(busybox: bytes) -> Image:
    """The image that keeps a pod's namespaces open; runs as nobody and ends at once when asked to."""
    return Image(
        PAUSE,
        files={"bin/busybox": (busybox, 0o755), "pause": (PAUSE_SCRIPT, 0o755)},
        links={"bin/sh": "busybox", "bin/sleep": "busybox"},
        folders={"bin": 0o755},
        entrypoint=("/pause",),
        user="65535:65535",
    )


def hello(busybox: bytes) -> Image:
    """The sample: busybox with its applets, serving /www."""
    accounts = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
    return Image(
        HELLO,
        files={
            "bin/busybox": (busybox, 0o755),
            "hello": (HELLO_SCRIPT, 0o755),
            "etc/passwd": (accounts, 0o644),
            "etc/group": (b"root:x:0:\nnobody:x:65534:\n", 0o644),
            "www/index.html": (b"hello from a container\n", 0o644),
        },
        links={f"bin/{applet}": "busybox" for applet in APPLETS},
        folders={
            "bin": 0o755, "dev": 0o755, "etc": 0o755, "proc": 0o555, "root": 0o700, "sys": 0o555, "tmp": 0o1777,
            "var": 0o755, "www": 0o755,
        },
        entrypoint=("/hello",),
    )  # fmt: skip


def read_busybox() -> bytes:
    """The machine's static busybox. Raises `InstallError` when there is none, or one that needs libraries."""
    path = find_program("busybox")
    if path is None:
        raise InstallError("no busybox is on this machine; install the package busybox-static.")
    program = Path(path).read_bytes()
    if b"/ld-linux" in program[:4096] or b"/ld-musl" in program[:4096]:
        raise InstallError(f"{path} needs shared libraries and cannot run in an image; install busybox-static.")
    return program


def archive(image: Image) -> bytes:
    """The image as an OCI archive, which `ctr images import` takes; the same image gives the same bytes."""
    layer = _layer(image)
    blobs: dict[str, bytes] = {}
    layer_blob = _put(blobs, LAYER_TYPE, gzip.compress(layer, 6, mtime=0))
    config_blob = _put(blobs, CONFIG_TYPE, _config(image, "sha256:" + hashlib.sha256(layer).hexdigest()))
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config_blob, "layers": [layer_blob]}
    entry = _put(blobs, MANIFEST_TYPE, _json(manifest))
    entry["platform"] = {"architecture": architecture(), "os": "linux"}
    entry["annotations"] = {
        "io.containerd.image.name": image.name,
        "org.opencontainers.image.ref.name": image.name.rpartition(":")[2],
    }
    files = {
        "oci-layout": (_json({"imageLayoutVersion": "1.0.0"}), 0o644),
        "index.json": (_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}), 0o644),
    }
    for digest, blob in blobs.items():
        files[f"blobs/sha256/{digest}"] = (blob, 0o644)
    return _tar({}, files, {})


def architecture() -> str:
    """This machine's architecture, as images name it."""
    machine = platform.machine()
    return ARCHITECTURES.get(machine, machine)


def _layer(image: Image) -> bytes:
    return _tar(image.folders, image.files, image.links)


def _config(image: Image, diff_id: str) -> bytes:
    run: dict[str, Any] = {"Env": ["PATH=/bin"], "Entrypoint": list(image.entrypoint)}
    if image.user:
        run["User"] = image.user
    return _json(
        {
            "architecture": architecture(),
            "os": "linux",
            "config": run,
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created_by": "octoedge"}],
        }
    )


def _put(blobs: dict[str, bytes], media_type: str, blob: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(blob).hexdigest()
    blobs[digest] = blob
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(blob)}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _tar(folders: Mapping[str, int], files: Mapping[str, tuple[bytes, int]], links: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, mode in folders.items():
            tar.addfile(_entry(name, tarfile.DIRTYPE, mode))
        for name, (content, mode) in files.items():
            entry = _entry(name, tarfile.REGTYPE, mode)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for name, target in links.items():
            entry = _entry(name, tarfile.SYMTYPE, 0o777)
            entry.linkname = target
            tar.addfile(entry)
    return buffer.getvalue()


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.mode = mode
    return entry
