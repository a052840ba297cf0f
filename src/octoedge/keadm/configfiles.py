"""The configuration files of CloudCore and EdgeCore that an installation on this machine runs with.

They are KubeEdge's format and hold what differs from KubeEdge's defaults: every path below the home, every port
shifted, and the switches that KubeEdge leaves off although a working node needs them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from octoedge.errors import ConfigError
from octoedge.keadm.image import PAUSE
from octoedge.keadm.layout import Layout

HEADER = "# Written by `octoedge up`. A change made here stays: the file is written once.\n"
CLOUD_HEADER = HEADER + "# Only an address that this machine has got since is added to advertiseAddress.\n"


def cloudcore(layout: Layout, addresses: Sequence[str]) -> str:
    """cloudcore.yaml; `addresses` are what edges may reach this machine by."""
    ports, pki = layout.ports, layout.cloud / "pki"
    hub = {
        "enable": True,
        "advertiseAddress": ["127.0.0.1", *addresses],
        "dnsNames": ["localhost"],
        "tlsCAFile": str(pki / "rootCA.crt"),
        "tlsCAKeyFile": str(pki / "rootCA.key"),
        "tlsCertFile": str(pki / "server.crt"),
        "tlsPrivateKeyFile": str(pki / "server.key"),
        "websocket": {"enable": True, "port": ports.cloudhub},
        "https": {"enable": True, "port": ports.certificates},
        "unixsocket": {"enable": False, "address": f"unix://{layout.cloud}/kubeedge.sock"},
        "authorization": {"enable": True, "debug": False, "modes": [{"node": {"enable": True}}]},
    }
    stream = {
        "enable": True,
        "streamPort": ports.stream,
        "tunnelPort": ports.tunnel,
        "tlsTunnelCAFile": str(pki / "rootCA.crt"),
        "tlsTunnelCertFile": str(pki / "server.crt"),
        "tlsTunnelPrivateKeyFile": str(pki / "server.key"),
        "tlsStreamCAFile": str(pki / "streamCA.crt"),
        "tlsStreamCertFile": str(pki / "stream.crt"),
        "tlsStreamPrivateKeyFile": str(pki / "stream.key"),
    }
    return _yaml(
        {
            "apiVersion": "cloudcore.config.kubeedge.io/v1alpha1",
            "kind": "CloudCore",
            "commonConfig": {"monitorServer": {"bindAddress": f"127.0.0.1:{ports.monitor}"}},
            "kubeAPIConfig": {"kubeConfig": str(layout.apiserver_data / "cloudcore.kubeconfig")},
            "modules": {
                "cloudHub": hub,
                "edgeController": {"enable": True},
                "cloudStream": stream,
                "dynamicController": {"enable": True},
                "iptablesManager": {"enable": False, "mode": "internal"},
            },
            "featureGates": {"requireAuthorization": True},
            "octoedge": {"keptLogs": {"directory": str(layout.cloud / "kept-logs")}},
        },
        CLOUD_HEADER,
    )


def edgecore(layout: Layout, token: str) -> str:
    """edgecore.yaml of a node on this machine, with the token that it joins by."""
    ports, cloud = layout.ports, layout.cloud_address
    certificates = {
        "tlsCaFile": str(layout.edge / "pki" / "rootCA.crt"),
        "tlsCertFile": str(layout.edge / "pki" / "server.crt"),
        "tlsPrivateKeyFile": str(layout.edge / "pki" / "server.key"),
    }
    hub = {
        "enable": True,
        **certificates,
        "token": token,
        "httpServer": f"https://{cloud}:{ports.certificates}",
        "websocket": {"enable": True, "server": f"{cloud}:{ports.cloudhub}"},
        "rotateCertificates": True,
    }
    stream = {
        "enable": True,
        "server": f"{cloud}:{ports.tunnel}",
        "tlsTunnelCAFile": certificates["tlsCaFile"],
        "tlsTunnelCertFile": certificates["tlsCertFile"],
        "tlsTunnelPrivateKeyFile": certificates["tlsPrivateKeyFile"],
    }
    return _yaml(
        {
            "apiVersion": "edgecore.config.kubeedge.io/v1alpha2",
            "kind": "EdgeCore",
            "database": {"dataSource": str(layout.edge / "edgecore.db")},
            "modules": {
                "edged": _edged(layout),
                "edgeHub": hub,
                "edgeStream": stream,
                "eventBus": {"enable": True, "mqttMode": 2, "mqttServerExternal": f"tcp://127.0.0.1:{ports.mqtt}"},
                "deviceTwin": {"enable": True, "dmiSockPath": str(layout.edge)},
                "metaManager": {"enable": True, "metaServer": _metaserver(layout)},
            },
            "featureGates": {"requireAuthorization": True},
            "octoedge": {"edgeDNS": {"enable": True, "listen": [f"{layout.gateway}:53"]}},
        }
    )


def _metaserver(layout: Layout) -> dict[str, Any]:
    """For the machine, and for its pods by their gateway."""
    port = layout.ports.metaserver
    return {"enable": True, "server": f"127.0.0.1:{port}", "dummyServer": f"{layout.gateway}:{port}"}


def _edged(layout: Layout) -> dict[str, Any]:
    endpoint = f"unix://{layout.runtime_socket}"
    return {
        "enable": True,
        "reportEvent": True,
        "hostnameOverride": layout.node,
        **({"nodeIP": layout.address} if layout.address else {}),
        "rootDirectory": str(layout.edge / "kubelet"),
        "podSandboxImage": PAUSE,
        "tailoredKubeletConfig": {
            "containerRuntimeEndpoint": endpoint,
            "imageServiceEndpoint": endpoint,
            "cgroupRoot": layout.cgroup_root,
            "cgroupDriver": "cgroupfs",
            "staticPodPath": str(layout.edge / "manifests"),
            "podLogsDir": str(layout.logs / "pods"),
            "readOnlyPort": layout.ports.edged,
        },
    }


def missing_addresses(text: str, wanted: Sequence[str]) -> list[str]:
    """The addresses that a cloudcore.yaml does not name, and so neither does CloudCore's certificate."""
    have = _section(yaml.safe_load(text)).get("advertiseAddress") or []
    return [address for address in wanted if address not in have]


def add_addresses(text: str, missing: Sequence[str]) -> str:
    """The same cloudcore.yaml, comments and all, naming these addresses too."""
    wanted = yaml.safe_load(text)
    section = _section(wanted)
    section["advertiseAddress"] = [*(section.get("advertiseAddress") or []), *missing]
    edited = _LIST.sub(lambda found: found[0] + "".join(f"{found[1]}- {address}\n" for address in missing), text, 1)
    return edited if yaml.safe_load(edited) == wanted else _yaml(wanted, CLOUD_HEADER)


_LIST = re.compile(r"^ *advertiseAddress:[^\S\n]*\n(?:( *)- \S+[^\S\n]*\n)+", re.MULTILINE)


def _section(tree: Any) -> dict[str, Any]:
    try:
        section = tree["modules"]["cloudHub"]
    except (KeyError, TypeError) as problem:
        raise ConfigError("cloudcore.yaml has no section modules.cloudHub; restore it, or remove the file.") from (
            problem
        )
    if not isinstance(section, dict):
        raise ConfigError("modules.cloudHub in cloudcore.yaml is no section; restore it, or remove the file.")
    return section


def _yaml(content: dict[str, Any], header: str = HEADER) -> str:
    return header + yaml.safe_dump(content, sort_keys=False)
