"""`keadm join`: this machine becomes an edge node of a cloud that runs elsewhere.

look (nothing installed? cloud there?) → folders → edgecore.yaml with the token → EdgeCore → certificate there
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from octoedge.api.config.load import default_edgecore, parse_edgecore
from octoedge.api.config.show import to_tree
from octoedge.api.config.yaml import dump
from octoedge.errors import ConfigError, InstallError, TokenError
from octoedge.keadm import setting, system
from octoedge.keadm.cluster import Server
from octoedge.keadm.files import write
from octoedge.keadm.layout import NODE_NAME
from octoedge.keadm.steps import Step, Written
from octoedge.keadm.system import Root
from octoedge.pki.token import split
from octoedge.version import VERSION

PATIENCE = 300.0
"""Seconds that EdgeCore gets to fetch its certificate."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the flags ask for."""

    host: str
    port: int
    node: str
    token: str
    certificate_port: int = 10002
    runtime: str = "unix:///run/containerd/containerd.sock"
    cgroup_driver: str = "cgroupfs"
    labels: Mapping[str, str] = field(default_factory=dict)
    sets: Sequence[str] = ()

    @property
    def authority(self) -> str:
        """The host as it stands in a URL."""
        return f"[{self.host}]" if ":" in self.host else self.host


def address(text: str) -> tuple[str, int]:
    """`host:port`, `[::1]:10000` → its parts. Raises `ConfigError`."""
    host, _, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or not port.isdecimal() or not 0 < int(port) < 65536 or (":" in bare and bare == host):
        raise ConfigError(f"--cloudcore-ipport {text!r}: HOST:PORT is wanted, such as 192.0.2.10:10000")
    return bare, int(port)


def steps(wish: Wish, root: Root) -> list[Step]:
    """What is to be done; `check` has found nothing in the way."""
    service = system.edgecore(root)
    return [
        Written("folders", lambda: False, root.make_folders),
        Written("edgecore.yaml", lambda: False, lambda: write(root.edgecore_file, config(wish, root))),
        Written("EdgeCore", service.runs, service.start),
        Written("certificate", lambda: _has_certificate(root), lambda: _await_certificate(root)),
    ]


def check(wish: Wish, root: Root) -> str:
    """What there is to tell before anything is changed. Raises `InstallError` when something is in the way."""
    if len(wish.node) > 63 or not NODE_NAME.fullmatch(wish.node):
        raise ConfigError(
            f"--edgenode-name {wish.node!r} is not one that Kubernetes takes: small letters, digits, '-' and '.', a"
            " letter or digit at both ends"
        )
    _check_token(wish.token)
    if system.edgecore(root).runs():
        raise InstallError("edgecore runs already; `keadm reset edge` first, if this node is to join anew.")
    if root.etc.exists() and any(root.etc.iterdir()):
        raise InstallError(f"{root.etc} is not empty; `keadm reset edge` clears it away.")
    config(wish, root)
    return _ask_cloud(wish)


def config(wish: Wish, root: Root) -> str:
    """edgecore.yaml: KubeEdge's defaults, what a working node needs switched on, and the flags. `ConfigError`."""
    tree: dict[str, Any] = root.moved(to_tree(default_edgecore(local_ip=wish.authority)))
    modules = tree["modules"]
    hub, edged = modules["edgeHub"], modules["edged"]
    tree["edgecoreVersion"] = f"v{VERSION}"
    hub["token"] = wish.token
    hub["httpServer"] = f"https://{wish.authority}:{wish.certificate_port}"
    hub["websocket"]["server"] = f"{wish.authority}:{wish.port}"
    modules["edgeStream"].update(enable=True, server=f"{wish.authority}:10004")
    modules["metaManager"]["metaServer"]["enable"] = True
    tree["featureGates"] = {"requireAuthorization": True}
    host = modules["metaManager"]["metaServer"]["dummyServer"].rpartition(":")[0]
    tree["octoedge"] = {"edgeDNS": {"enable": True, "listen": [f"{host}:53"]}}
    edged.update(hostnameOverride=wish.node, reportEvent=True)
    if wish.labels:
        edged["nodeLabels"] = dict(wish.labels)
    kubelet = edged["tailoredKubeletConfig"]
    if wish.cgroup_driver == "cgroupfs":
        # One of its own, so that `keadm reset` can clear it away.
        kubelet["cgroupRoot"] = "/kubeedge" if root.is_system else f"/kubeedge-{wish.node}"
    kubelet["cgroupDriver"] = wish.cgroup_driver
    kubelet["containerRuntimeEndpoint"] = kubelet["imageServiceEndpoint"] = wish.runtime
    text = dump(setting.changed(tree, wish.sets))
    parse_edgecore(text.encode(), "edgecore.yaml of these flags")
    return text


def _check_token(token: str) -> None:
    try:
        split(token)
    except TokenError as problem:
        raise InstallError(f"--token: {problem}") from problem


def _ask_cloud(wish: Wish) -> str:
    """A Node that was made beforehand is adopted; one that is connected now, CloudCore itself refuses."""
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE  # nothing is told; the CA is recognised by its hash in the token, later
    cloud = Server(wish.host, wish.certificate_port, unverified)
    status, body = cloud.read(f"/node/{wish.node}", 10)
    if status not in (200, 404):
        raise InstallError(
            f"{cloud.url('/node/' + wish.node)} answered {status}: {body[:200].decode(errors='replace')}"
        )
    return f"the cloud has a Node {wish.node}; it is adopted" if status == 200 else ""


def _certificate_files(root: Root) -> list[Path]:
    hub = parse_edgecore(root.edgecore_file.read_bytes(), str(root.edgecore_file)).modules.edge_hub
    return [Path(name) for name in (hub.tls_ca_file, hub.tls_cert_file, hub.tls_private_key_file)]


def _has_certificate(root: Root) -> bool:
    return all(file.exists() for file in _certificate_files(root))


def _await_certificate(root: Root) -> str:
    files, service = _certificate_files(root), system.edgecore(root)
    service.await_ready(lambda: all(file.exists() for file in files), PATIENCE, "no certificate")
    return str(files[1])
