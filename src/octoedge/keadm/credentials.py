"""The credentials of an installation: the administrator's kubeconfig, and what of all of them ends soon.

Everything renews itself a month before its end, while the process runs that it belongs to; the administrator's copy is
renewed by `octoedge up` and `octoedge status`.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import yaml

from octoedge.errors import CertificateError
from octoedge.keadm.edgenode import admin
from octoedge.keadm.files import write
from octoedge.keadm.layout import Layout
from octoedge.keadm.register import Register

_SOON = 21 * 86400.0
"""What has not renewed itself by then does not."""
_MAX_FILE = 1 << 20


def kubeconfig_is_current(layout: Layout) -> bool:
    """Whether the copy for people is what the API server wrote last."""
    return layout.kubeconfig.exists() and layout.kubeconfig.read_bytes() == admin(layout).read_bytes()


def write_kubeconfig(layout: Layout) -> str:
    """Copy it for people; it belongs to whom it belonged, or to who called sudo."""
    before = layout.kubeconfig.stat() if layout.kubeconfig.exists() else None
    write(layout.kubeconfig, admin(layout).read_text())
    if os.geteuid() == 0:
        if "SUDO_UID" in os.environ:
            os.chown(layout.kubeconfig, int(os.environ["SUDO_UID"]), int(os.environ.get("SUDO_GID", "-1")))
        elif before is not None:
            os.chown(layout.kubeconfig, before.st_uid, before.st_gid)
    return str(layout.kubeconfig)


def renew_kubeconfig(layout: Layout) -> str:
    """A sentence when the copy was renewed; none when it is current, or is not this user's."""
    try:
        if not layout.kubeconfig.exists() or kubeconfig_is_current(layout):
            return ""
        write_kubeconfig(layout)
    except OSError:
        return ""
    return f"{layout.kubeconfig} was renewed: copies of it elsewhere are good for a few weeks still"


def ending(nodes: Register, now: float) -> list[str]:
    """A sentence for everything that ends within three weeks, or has ended; of what this user may read."""
    cloud = nodes.cloud
    pki, log = cloud.apiserver_data / "pki", cloud.logs / "apiserver.log"
    renews = f"a running API server renews it a month before; see {log}"
    found = [
        *(_told(pki / f"{name}.crt", now, renews) for name in ("ca", "apiserver", "kubelet-client", "cloudcore")),
        _told(cloud.kubeconfig, now, "`octoedge up` renews it"),
    ]
    for node in nodes.nodes():
        log = node.logs / "edgecore.log"
        found.append(_told(node.edge / "pki/server.crt", now, f"EdgeCore renews it while it is connected; see {log}"))
    return [sentence for sentence in found if sentence]


def _told(file: Path, now: float, then: str) -> str:
    left = min((end - now for end in _ends(file)), default=_SOON)
    if left >= _SOON:
        return ""
    days = f"{abs(left) / 86400:.0f} days"
    when = f"ends in {days}" if left > 0 else f"ended {days} ago"
    return f"{file} {when}; {then}"


def _ends(file: Path) -> Iterator[float]:
    """When the certificate of a PEM file, or of a kubeconfig's user, ends; nothing where none can be read."""
    from octoedge.pki import x509  # cryptography takes a while to load

    try:
        with file.open("rb") as opened:
            pem = opened.read(_MAX_FILE)
        if not pem.startswith(b"-----"):
            user = yaml.safe_load(pem)["users"][0]["user"]
            pem = base64.b64decode(user["client-certificate-data"], validate=True)
        yield x509.read_der(ssl.PEM_cert_to_DER_cert(pem.decode("ascii")), str(file)).not_after
    except (OSError, ValueError, LookupError, TypeError, binascii.Error, yaml.YAMLError, CertificateError):
        return
