"""`keadm init`: CloudCore on this machine, for a Kubernetes that is there, or for the embedded API beside it.

(embedded API → its kubeconfig) → cloudcore.yaml → CloudCore → its join token is there
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octoedge.api.config.load import default_cloudcore, load_cloudcore, parse_cloudcore
from octoedge.api.config.show import to_tree
from octoedge.api.config.yaml import dump
from octoedge.errors import InstallError
from octoedge.keadm import cluster, network, setting, system
from octoedge.keadm.files import write
from octoedge.keadm.steps import Step, Written
from octoedge.keadm.system import Root, Service

PATIENCE = 60.0
"""Seconds that the API server and CloudCore get until they serve."""
HELM_PREFIX = "cloudcore."
"""KubeEdge's values file names CloudCore's settings below `cloudCore`."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the flags ask for."""

    kubeconfig: Path | None = None
    """Of a Kubernetes that is there; None: the embedded API."""
    addresses: Sequence[str] = ()
    """By which edges reach this machine; empty: all that it has."""
    sets: Sequence[str] = ()
    api_port: int = 6443


def check(wish: Wish, root: Root) -> None:
    """Raises `InstallError` when something is in the way; changes nothing."""
    if system.cloudcore(root).runs():
        raise InstallError("cloudcore runs already; `keadm reset cloud` first, or --force to start it anew.")
    if root.edgecore_file.exists():
        raise InstallError(f"this machine is an edge node ({root.edgecore_file}); use --root for a cloud beside it.")
    if wish.kubeconfig is not None and not cluster.is_ready(wish.kubeconfig):
        raise InstallError(f"no Kubernetes answers by {wish.kubeconfig}; see to it, or leave --kube-config out.")
    config(wish, root)


def steps(wish: Wish, root: Root) -> list[Step]:
    """What is to be done; `check` has found nothing in the way."""
    cloud = system.cloudcore(root)
    return [
        Written("folders", lambda: False, root.make_folders),
        *(_embedded(wish, root) if wish.kubeconfig is None else ()),
        Written("cloudcore.yaml", lambda: False, lambda: write(root.cloudcore_file, config(wish, root))),
        Written("CloudCore", lambda: False, lambda: _start(cloud, lambda: _cloud_is_ready(wish, root))),
    ]


def config(wish: Wish, root: Root) -> str:
    """cloudcore.yaml: KubeEdge's defaults, what works only when switched on, and the flags. `ConfigError`."""
    tree: dict[str, Any] = root.moved(to_tree(default_cloudcore()))
    modules = tree["modules"]
    tree["kubeAPIConfig"]["kubeConfig"] = str(admin(wish, root))
    modules["cloudHub"].update(
        advertiseAddress=list(wish.addresses) or ["127.0.0.1", *network.addresses()],
        dnsNames=["localhost"],
        authorization={"enable": True, "debug": False, "modes": [{"node": {"enable": True}}]},
    )
    modules["cloudHub"]["unixsocket"]["enable"] = False
    modules["cloudStream"]["enable"] = True
    modules["dynamicController"]["enable"] = True
    tree["featureGates"] = {"requireAuthorization": True}
    modules["iptablesManager"]["enable"] = False
    tree["octoedge"] = {"keptLogs": {"directory": str(root.lib / "logs")}}
    if wish.kubeconfig is not None:
        # The embedded API asks CloudCore itself; any other dials the address that a node shows.
        tree["octoedge"]["kubeletAddress"] = _reachable(modules["cloudHub"]["advertiseAddress"])
    text = dump(setting.changed(tree, [_field(item) for given in wish.sets for item in setting.split(given)]))
    parse_cloudcore(text.encode(), "cloudcore.yaml of these flags")
    return text


def _reachable(addresses: Sequence[str]) -> str:
    """The first address that is not this machine's loopback."""
    return next((address for address in addresses if not address.startswith("127.")), addresses[0])


def admin(wish: Wish, root: Root) -> Path:
    """The kubeconfig that CloudCore uses."""
    return wish.kubeconfig or root.apiserver_data / "cloudcore.kubeconfig"


def _field(item: str) -> str:
    return item[len(HELM_PREFIX) :] if item.lower().startswith(HELM_PREFIX) else item


def _embedded(wish: Wish, root: Root) -> list[Step]:
    addresses = ("127.0.0.1", *network.addresses(), *wish.addresses)
    cloud = parse_cloudcore(config(wish, root).encode(), "cloudcore.yaml")
    service = system.apiserver(
        root,
        *("--listen", f"0.0.0.0:{wish.api_port}"),
        *(word for address in dict.fromkeys(addresses) for word in ("--advertise-address", address)),
        *("--kubelet-endpoint", f"https://127.0.0.1:{cloud.modules.cloud_stream.stream_port}"),
    )
    written = root.apiserver_data / "admin.kubeconfig"
    return [
        Written("API server", lambda: False, lambda: _start(service, lambda: cluster.is_ready(written))),
        Written("kubeconfig", lambda: False, lambda: write(root.kubeconfig, written.read_text())),
    ]


def _start(service: Service, ready: Callable[[], bool]) -> str:
    told = service.start()
    service.await_ready(ready, PATIENCE, f"{service.name} does not serve")
    return told


def _cloud_is_ready(wish: Wish, root: Root) -> bool:
    config = load_cloudcore(root.cloudcore_file)
    port = int(config.common_config.monitor_server.bind_address.rpartition(":")[2])
    try:
        return cluster.cloud_health(port).ok and bool(cluster.join_token(admin(wish, root)))
    except InstallError:
        return False
