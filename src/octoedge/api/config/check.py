"""What a configuration must fulfil beyond its types (spec: config, the parts called Validation).

Every check appends sentences; none stops at the first. A module that is switched off is not checked.
"""

from __future__ import annotations

import ipaddress
import re

from octoedge.api.config.cloudcore import CloudCoreConfig, CloudHub
from octoedge.api.config.edgecore import EdgeCoreConfig, Edged, EdgeHub

_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
LEVELS = ("debug", "info", "warning", "error")


def cloudcore_problems(config: CloudCoreConfig) -> list[str]:
    """What is wrong with `config`, as sentences."""
    modules = config.modules
    problems = _address("commonConfig.monitorServer.bindAddress", config.common_config.monitor_server.bind_address)
    if config.kube_api_config.kube_config and not config.kube_api_config.kube_config.startswith("/"):
        problems.append(f"kubeAPIConfig.kubeConfig must be an absolute path, not {config.kube_api_config.kube_config}")
    if modules.cloud_hub.enable:
        problems += _cloud_hub(modules.cloud_hub)
    if modules.edge_controller.enable:
        problems += _positive(
            "modules.edgeController.nodeUpdateFrequency", modules.edge_controller.node_update_frequency
        )
    if modules.cloud_stream.enable:
        problems += _port("modules.cloudStream.streamPort", modules.cloud_stream.stream_port)
        problems += _port("modules.cloudStream.tunnelPort", modules.cloud_stream.tunnel_port)
    if modules.iptables_manager.mode not in ("internal", "external"):
        problems.append("modules.iptablesManager.mode must be internal or external")
    return problems + _level(config.octoedge.log_level)


def _cloud_hub(hub: CloudHub) -> list[str]:
    problems = _port("modules.cloudHub.https.port", hub.https.port)
    problems += _port("modules.cloudHub.websocket.port", hub.websocket.port)
    problems += _port("modules.cloudHub.quic.port", hub.quic.port)
    problems += _ip("modules.cloudHub.websocket.address", hub.websocket.address)
    problems += _ip("modules.cloudHub.https.address", hub.https.address)
    problems += _ip("modules.cloudHub.quic.address", hub.quic.address)
    socket = hub.unixsocket.address
    if not socket.startswith("unix://"):
        problems.append(f"modules.cloudHub.unixsocket.address must begin with unix://, not {socket}")
    problems += _positive("modules.cloudHub.tokenRefreshDuration", hub.token_refresh_duration)
    problems += _positive("modules.cloudHub.edgeCertSigningDuration", hub.edge_cert_signing_duration)
    problems += _positive("modules.cloudHub.keepaliveInterval", hub.keepalive_interval)
    return problems + _positive("modules.cloudHub.nodeLimit", hub.node_limit)


def edgecore_problems(config: EdgeCoreConfig) -> list[str]:
    """What is wrong with `config`, as sentences."""
    modules = config.modules
    problems: list[str] = []
    if not config.database.data_source:
        problems.append("database.dataSource must be a file path")
    if modules.edged.enable:
        problems += _edged(modules.edged)
    if modules.edge_hub.enable:
        problems += _edge_hub(modules.edge_hub)
    if modules.event_bus.enable and modules.event_bus.mqtt_mode not in (0, 1, 2):
        problems.append(f"modules.eventBus.mqttMode must be 0, 1 or 2, not {modules.event_bus.mqtt_mode}")
    if modules.edge_stream.enable:
        problems += _positive("modules.edgeStream.handshakeTimeout", modules.edge_stream.handshake_timeout)
    return problems + _level(config.octoedge.log_level)


def _edged(edged: Edged) -> list[str]:
    problems: list[str] = []
    name, driver = edged.hostname_override, edged.tailored_kubelet_config.cgroup_driver
    if len(name) > 253 or not _NODE_NAME.fullmatch(name):
        problems.append(
            f"modules.edged.hostnameOverride must be a DNS-1123 subdomain (a-z, 0-9, '-' and '.'), not {name!r}"
        )
    if driver not in ("cgroupfs", "systemd"):
        problems.append(f"modules.edged.tailoredKubeletConfig.cgroupDriver must be cgroupfs or systemd, not {driver!r}")
    return problems


def _edge_hub(hub: EdgeHub) -> list[str]:
    problems: list[str] = []
    if hub.websocket.enable == hub.quic.enable:
        problems.append("exactly one of modules.edgeHub.websocket.enable and modules.edgeHub.quic.enable must be true")
    if hub.message_qps < 0:
        problems.append("modules.edgeHub.messageQPS must not be below 0")
    if hub.message_burst < 0:
        problems.append("modules.edgeHub.messageBurst must not be below 0")
    return problems + _positive("modules.edgeHub.heartbeat", hub.heartbeat)


def _positive(key: str, value: int) -> list[str]:
    return [] if value > 0 else [f"{key} must be above 0, not {value}"]


def _port(key: str, value: int) -> list[str]:
    return [] if 0 < value < 65536 else [f"{key} must be a port (1 to 65535), not {value}"]


def _ip(key: str, value: str) -> list[str]:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return [f"{key} must be an IP address, not {value!r}"]
    return []


def _address(key: str, value: str) -> list[str]:
    host, _, port = value.rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        return [f"{key} must be IP:port, not {value!r}"]
    return _ip(key, host.strip("[]")) + _port(key, int(port))


def _level(value: str) -> list[str]:
    return [] if value in LEVELS else [f"octoedge.logLevel must be one of {', '.join(LEVELS)}, not {value!r}"]
