"""A containerd of our own: its configuration, its pod network, its images.

It shares nothing with a containerd that the machine may already run: root, state, socket, bridge and subnet are ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from octoedge.errors import InstallError
from octoedge.keadm.image import PAUSE
from octoedge.keadm.layout import Layout
from octoedge.keadm.processes import Daemon, call, find_program

PLUGIN_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
PLUGINS = ("bridge", "host-local", "loopback", "portmap")
BRINGING = "octoedge.local/bringing"
"""Under this name images pass that have no name which is known before the import."""
UNUSED = (
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.tracing",
)


def daemon(layout: Layout) -> Daemon:
    """The containerd of this installation."""
    command = (
        find_program("containerd") or "containerd",
        "--config", str(config_file(layout)),
        "--root", str(layout.containerd / "root"),
        "--state", str(layout.containerd / "state"),
        "--address", str(layout.runtime_socket),
    )  # fmt: skip
    return Daemon("containerd", command, layout.run, layout.logs)


def config_file(layout: Layout) -> Path:
    return layout.containerd / "config.toml"


def network_file(layout: Layout) -> Path:
    return layout.cni / "net.d" / "10-octoedge.conflist"


def config(layout: Layout, plugins: str) -> str:
    """containerd's configuration; folders and sockets are given as flags.

    `restrict_oom_score_adj` lets containers start where root lacks CAP_SYS_RESOURCE (many virtual machines).
    """
    disabled = ", ".join(json.dumps(name) for name in UNUSED)
    return (
        "version = 2\n"
        f"disabled_plugins = [{disabled}]\n"
        '[plugins."io.containerd.grpc.v1.cri"]\n'
        f"  sandbox_image = {json.dumps(PAUSE)}\n"
        "  restrict_oom_score_adj = true\n"
        '  [plugins."io.containerd.grpc.v1.cri".cni]\n'
        f"    bin_dir = {json.dumps(plugins)}\n"
        f"    conf_dir = {json.dumps(str(network_file(layout).parent))}\n"
        '  [plugins."io.containerd.grpc.v1.cri".registry]\n'
        f"    config_path = {json.dumps(str(layout.registries))}\n"
    )


def network(layout: Layout) -> str:
    """The pods' network.

    One masquerade rule for the whole subnet is made beside it: `ipMasq` would write rules for each pod, which costs
    more than all the rest. The bridge has its address already: `isGateway` would switch on forwarding in the kernel.
    """
    bridge = {
        "type": "bridge",
        "bridge": layout.bridge,
        "isGateway": False,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(layout.cni / "addresses"),
            "ranges": [[{"subnet": layout.subnet, "gateway": layout.gateway}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    return json.dumps({"cniVersion": "0.4.0", "name": f"octoedge{layout.suffix}", "plugins": [bridge, ports]}, indent=1)


def plugin_folder() -> str:
    """Where the CNI plugins are. Raises `InstallError` when they are nowhere."""
    for folder in PLUGIN_FOLDERS:
        if all((Path(folder) / plugin).exists() for plugin in PLUGINS):
            return folder
    raise InstallError(f"no CNI plugins in {', '.join(PLUGIN_FOLDERS)}; install containernetworking-plugins.")


def ctr(layout: Layout, *arguments: str, timeout: float = 60) -> str:
    """Ask our containerd something, in the namespace of Kubernetes."""
    return call(("ctr", "--address", str(layout.runtime_socket), "--namespace", "k8s.io", *arguments), timeout)


def answers(layout: Layout) -> bool:
    """Whether our containerd serves requests."""
    if not layout.runtime_socket.exists():
        return False
    try:
        call(("ctr", "--address", str(layout.runtime_socket), "--connect-timeout", "2s", "version"), 5)
    except InstallError:
        return False
    return True


def image_names(layout: Layout) -> set[str]:
    """The names of the images that our containerd holds."""
    return set(ctr(layout, "images", "list", "--quiet").split())


@dataclass(frozen=True, slots=True)
class Listed:
    """An image that containerd holds."""

    name: str
    digest: str
    size: str
    """As a person reads it."""


def images(layout: Layout) -> list[Listed]:
    """The images by their names; an image with two names is there twice."""
    lines = [line.split() for line in ctr(layout, "images", "list").splitlines()[1:]]
    rows = [words for words in lines if len(words) > 4 and not words[0].startswith("sha256:")]
    return [Listed(words[0], words[2], f"{words[3]} {words[4]}") for words in rows]


def import_images(layout: Layout, archive: Path, names: Mapping[str, Sequence[str]], name: str = "") -> list[str]:
    """Bring a plain archive onto the node; returns the names under which its images are there. Raises `InstallError`.

    `names` says how images are to be called, by digest; `name` how one is that has no name otherwise.
    """
    words = ctr(layout, "images", "import", "--digests", "--base-name", BRINGING, str(archive), timeout=600)
    brought = [line.split()[1] for line in words.splitlines() if line.startswith("unpacking ")]
    kept = [one for one in brought if not one.startswith(BRINGING)]
    passing = [one for one in brought if one.startswith(BRINGING)]
    for one in passing:
        for wanted in [*names.get(one.partition("@")[2], ()), *([name] if name else [])]:
            ctr(layout, "images", "tag", "--force", one, wanted)
            kept.append(wanted)
    if passing:
        ctr(layout, "images", "remove", *passing)
    return list(dict.fromkeys(kept))


def import_archive(layout: Layout, archive: Path) -> list[str]:
    """Bring an archive of our own making onto the node; returns the names that it brought."""
    words = ctr(layout, "images", "import", str(archive), timeout=600)
    return [line.split()[1] for line in words.splitlines() if line.startswith("unpacking ")]
