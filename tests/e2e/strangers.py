"""Those who knock without being welcome: an edgecore with a wrong token, a client with a wrong certificate."""

from __future__ import annotations

import base64
import contextlib
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from websockets.sync.client import ClientConnection, connect

from octoedge.keadm import configfiles
from octoedge.pki import x509
from octoedge.testing.installation import Done, Installation

PROJECT = "e632aba927ea4ac2b575ec1603d56f10"


def run_edgecore(installation: Installation, folder: Path, node: str, token: str, seconds: float = 20) -> Done:
    """An edgecore of that name with that token, without a container runtime, until it ends or time is over."""
    layout = replace(installation.layout, home=folder, node=node)
    layout.edge.mkdir(parents=True)
    config = layout.edgecore_file
    config.write_text(configfiles.edgecore(layout, token))
    command = (str(Path(sys.executable).with_name("edgecore")), "--config", str(config))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            out, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
    return Done(process.returncode, out, "")


def authority(installation: Installation) -> x509.Pair:
    """The cloud's CA with its key, as it lies in the Secret."""
    data = installation.get("secret", "casecret", "-n", "kubeedge")["data"]
    return x509.Pair(base64.b64decode(data["cadata"]), base64.b64decode(data["cakeydata"]))


def foreign_identity(folder: Path, node: str) -> tuple[Path, Path]:
    """Certificate and key for a node, signed by a CA of our own making."""
    now = time.time()
    key, request = x509.new_node_request(node)
    certificate = x509.sign_node(x509.new_authority(now), request, node, days=1, now=now)
    files = folder / "foreign.crt", folder / "foreign.key"
    files[0].write_bytes(x509.certificate_to_pem(certificate))
    files[1].write_bytes(key)
    return files


@contextlib.contextmanager
def dial(installation: Installation, node: str, identity: tuple[Path, Path] | None) -> Iterator[ClientConnection]:
    """A WebSocket to CloudHub as a node, with certificate and key from files."""
    tls = ssl.create_default_context(cafile=str(installation.layout.edge / "pki" / "rootCA.crt"))
    if identity:
        tls.load_cert_chain(*identity)
    url = f"wss://127.0.0.1:{installation.layout.ports.cloudhub}/{PROJECT}/{node}/events"
    headers = {"node_id": node, "project_id": PROJECT, "ConnectionUse": "msg"}
    with connect(url, ssl=tls, additional_headers=headers, open_timeout=10, close_timeout=5) as connection:
        yield connection


def own_identity(installation: Installation) -> tuple[Path, Path]:
    """The real node's certificate and key."""
    pki = installation.layout.edge / "pki"
    return pki / "server.crt", pki / "server.key"
