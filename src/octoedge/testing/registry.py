"""A registry on the loopback: what a pull asks of the distribution API, over images made here, with a password or none.

Image ─► archive ─► blobs by digest, tags ─► GET /v2/NAME/(manifests|blobs)/REFERENCE
"""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from octoedge.keadm.image import MANIFEST_TYPE, Image, archive

_PATH = re.compile(r"/v2/(?P<name>[^?]+)/(?P<what>manifests|blobs)/(?P<reference>[^/?]+)(\?.*)?")
_UNKNOWN = b'{"errors":[{"code":"NAME_UNKNOWN","message":"there is no such image"}]}'
_REFUSED = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'


@dataclass
class Registry:
    """What is served, and what was asked."""

    port: int = 0
    password: str = ""
    """`user:password`; empty: anyone may pull."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    tags: dict[tuple[str, str], str] = field(default_factory=dict)
    """Digest by name and tag."""
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    """Path, user and status of every request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, image: Image) -> None:
        """Serve an image under the name that it has, without its registry's host."""
        with tarfile.open(fileobj=io.BytesIO(archive(image))) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        for path, content in files.items():
            if path.startswith("blobs/sha256/"):
                self.blobs[f"sha256:{path.rpartition('/')[2]}"] = content
        name, _, tag = image.name.partition("/")[2].rpartition(":")
        self.tags[name, tag] = json.loads(files["index.json"])["manifests"][0]["digest"]

    def answer(self, path: str, authorization: str) -> tuple[int, bytes, str]:
        """Status, body and digest."""
        user = _decoded(authorization)
        status, body, digest = self._answer(path, user)
        self.asked.append((path, user.partition(":")[0], status))
        return status, body, digest

    def _answer(self, path: str, user: str) -> tuple[int, bytes, str]:
        if self.password and user != self.password:
            return 401, _REFUSED, ""
        found = _PATH.fullmatch(path)
        if found is None:
            return (200, b"{}", "") if path == "/v2/" else (404, _UNKNOWN, "")
        reference = found["reference"]
        digest = self.tags.get((found["name"], reference), reference) if found["what"] == "manifests" else reference
        return (200, self.blobs[digest], digest) if digest in self.blobs else (404, _UNKNOWN, "")


def _decoded(authorization: str) -> str:
    kind, _, secret = authorization.partition(" ")
    return base64.b64decode(secret).decode() if kind == "Basic" else ""


@contextmanager
def serve(images: Sequence[Image] = (), *, password: str = "") -> Iterator[Registry]:
    """A registry on a free port of the loopback, as long as the context."""
    registry = Registry(password=password)
    for image in images:
        registry.put(image)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"registry": registry}))
    registry.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, name="registry")
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry

    def do_GET(self) -> None:
        status, body, digest = self.registry.answer(self.path, self.headers.get("Authorization", ""))
        is_manifest = status == 200 and "/manifests/" in self.path
        self.send_response(status)
        self.send_header("Content-Type", MANIFEST_TYPE if is_manifest else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="registry"')
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the base class looks for this name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's word
        """Nothing: `Registry.asked` has it."""
