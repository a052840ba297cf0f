"""What the Go programs' configuration files must say beyond what ours say, so that they are guests on this machine.

Both makes read the same files; `keadm.configfiles` writes them for ours, and the Go ones get these changes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from octoedge.keadm import configfiles
from octoedge.keadm.layout import Layout

Tree = dict[str, Any]

KERNEL = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What the Go kubelet writes into /proc/sys of the whole machine; it is shown these values instead."""


KUBELET_PORT = 10350
"""Where a Go EdgeCore is asked for logs, whatever its file says: both Go ends have the number in their code."""


def our_cloudcore(layout: Layout, address: str, door: str) -> str:
    """cloudcore.yaml for ours; `door` is where an API server that is not ours reaches its stream server."""
    tree: Tree = yaml.safe_load(configfiles.cloudcore(layout, [address]))
    if door:
        tree["octoedge"] = {**tree.get("octoedge", {}), "kubeletAddress": door}
    return yaml.safe_dump(tree, sort_keys=False)


def go_cloudcore(layout: Layout, address: str, stream_ca: Path) -> str:
    """cloudcore.yaml for the Go CloudCore, which nodes reach by `address`.

    JSON, since Octoedge's embedded API server does not speak Kubernetes' protobuf.
    """
    tree: Tree = yaml.safe_load(configfiles.cloudcore(layout, [address]))
    tree.pop("octoedge", None)
    tree["kubeAPIConfig"]["contentType"] = "application/json"
    modules = tree["modules"]
    modules["cloudHub"] |= {"dnsNames": ["localhost"], "authorization": {"enable": False, "debug": True}}
    modules["cloudStream"]["tlsStreamCAFile"] = str(stream_ca)
    return yaml.safe_dump(tree, sort_keys=False)


def go_edgecore(node: Layout, token: str) -> str:
    """edgecore.yaml for the Go EdgeCore of that node; the kubelet in it keeps its hands off the machine."""
    tree: Tree = yaml.safe_load(configfiles.edgecore(node, token))
    tree["modules"]["edged"]["tailoredKubeletConfig"] |= {
        "readOnlyPort": KUBELET_PORT,
        "volumePluginDir": str(node.edge / "plugins"),
        "makeIPTablesUtilChains": False,
        "evictionHard": {"memory.available": "1Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "resolvConf": "/etc/resolv.conf",
    }
    # Plain HTTP: with the gate it wants a certificate of a signer of the API server, and an interface of its own.
    tree["featureGates"].pop("requireAuthorization")
    tree["modules"]["metaManager"]["metaServer"].pop("dummyServer")
    return yaml.safe_dump(tree, sort_keys=False)


def shielded(node: Layout) -> tuple[str, ...]:
    """The words before the runtime of a Go node: a mount namespace where the kubelet finds the kernel as it wants it.

    What it writes to `KERNEL` and below /var/log goes to files of the node.
    """
    fakes = node.run / "sys"
    lines = ["set -e", "mount --make-rprivate /", f"mount --bind {node.run}/log /var/log"]
    lines += [f"mount --bind {fakes / name.replace('/', '.')} /proc/sys/{name}" for name in KERNEL]
    return ("unshare", "--mount", "--", "sh", "-c", "\n".join([*lines, 'exec "$@"']), "sh")


def prepare_shield(node: Layout) -> None:
    """The files that `shielded` shows."""
    (node.run / "sys").mkdir(parents=True, exist_ok=True)
    (node.run / "log").mkdir(exist_ok=True)
    for name, value in KERNEL.items():
        (node.run / "sys" / name.replace("/", ".")).write_text(f"{value}\n")
