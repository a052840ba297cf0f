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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from octoedge.errors import InstallError
from octoedge.keadm.processes import find_program

Json = dict[str, Any]

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
    plain = _tar(image.folders, image.files, image.links)
    packed: dict[str, bytes] = {}
    layer = _put(packed, LAYER_TYPE, gzip.compress(plain, 6, mtime=0))
    run: Json = {"Env": ["PATH=/bin"], "Entrypoint": list(image.entrypoint)}
    if image.user:
        run["User"] = image.user
    files = describe(image.name, [(hashlib.sha256(plain).hexdigest(), layer)], run)
    files |= {f"blobs/sha256/{digest}": blob for digest, blob in packed.items()}
    return _tar({}, {name: (content, 0o644) for name, content in files.items()}, {})


def describe(name: str, layers: Sequence[tuple[str, Json]], run: Json) -> dict[str, bytes]:
    """What an OCI archive holds beside its layers, of which digest of the plain tar and descriptor are given."""
    blobs: dict[str, bytes] = {}
    config = {
        "architecture": architecture(),
        "os": "linux",
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff}" for diff, _ in layers]},
        "history": [{"created_by": "octoedge"} for _ in layers],
    }
    config_blob = _put(blobs, CONFIG_TYPE, _json(config))
    named = [layer for _, layer in layers]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config_blob, "layers": named}
    listed = _put(blobs, MANIFEST_TYPE, _json(manifest))
    listed["platform"] = {"architecture": architecture(), "os": "linux"}
    listed["annotations"] = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    return {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [listed]}),
        **{f"blobs/sha256/{digest}": blob for digest, blob in blobs.items()},
    }


def descriptor(media_type: str, digest: str, size: int) -> Json:
    """How a blob is named."""
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def architecture() -> str:
    """This machine's architecture, as images name it."""
    machine = platform.machine()
    return ARCHITECTURES.get(machine, machine)


def _put(blobs: dict[str, bytes], media_type: str, blob: bytes) -> Json:
    digest = hashlib.sha256(blob).hexdigest()
    blobs[digest] = blob
    return descriptor(media_type, digest, len(blob))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _tar(folders: Mapping[str, int], files: Mapping[str, tuple[bytes, int]], links: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, mode in folders.items():
            tar.addfile(entry(name, tarfile.DIRTYPE, mode))
        for name, (content, mode) in files.items():
            file = entry(name, tarfile.REGTYPE, mode)
            file.size = len(content)
            tar.addfile(file, io.BytesIO(content))
        for name, target in links.items():
            link = entry(name, tarfile.SYMTYPE, 0o777)
            link.linkname = target
            tar.addfile(link)
    return buffer.getvalue()


def entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    """A member that belongs to root and to no time."""
    made = tarfile.TarInfo(name)
    made.type = kind
    made.mode = mode
    return made
