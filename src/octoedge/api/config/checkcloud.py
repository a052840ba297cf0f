"""What CloudCore's configuration must fulfil beyond its types; apart, so that the agent does not carry it."""

from __future__ import annotations

import ipaddress
import re

from octoedge.api.config.check import level, positive
from octoedge.api.config.cloudcore import CloudCoreConfig, CloudHub, CloudTelemetry, Doors

_DOOR = re.compile(r"(\*\.)?[0-9A-Za-z]([0-9A-Za-z.:-]*[0-9A-Za-z])?")
_WEB = ("http://", "https://")
_BROKER = ("tcp://", "mqtt://", "ssl://", "tls://", "mqtts://", "unix://")
_EXPORTS = {"influxdb": _WEB, "prometheus": _WEB, "http": _WEB, "mqtt": _BROKER}


def cloudcore_problems(config: CloudCoreConfig) -> list[str]:
    """What is wrong with `config`, as sentences."""
    modules = config.modules
    problems = _address("commonConfig.monitorServer.bindAddress", config.common_config.monitor_server.bind_address)
    if config.kube_api_config.kube_config and not config.kube_api_config.kube_config.startswith("/"):
        problems.append(f"kubeAPIConfig.kubeConfig must be an absolute path, not {config.kube_api_config.kube_config}")
    if modules.cloud_hub.enable:
        problems += _cloud_hub(modules.cloud_hub)
    if modules.edge_controller.enable:
        problems += positive(
            "modules.edgeController.nodeUpdateFrequency", modules.edge_controller.node_update_frequency
        )
    if modules.cloud_stream.enable:
        problems += _port("modules.cloudStream.streamPort", modules.cloud_stream.stream_port)
        problems += _port("modules.cloudStream.tunnelPort", modules.cloud_stream.tunnel_port)
    if modules.iptables_manager.mode not in ("internal", "external"):
        problems.append("modules.iptablesManager.mode must be internal or external")
    door = config.octoedge.kubelet_address
    if door and not _DOOR.fullmatch(door):
        problems.append(f"octoedge.kubeletAddress must be an IP address, a name, or *.DOMAIN, not {door!r}")
    kept = config.octoedge.kept_logs
    if kept.enable and not kept.directory.startswith("/"):
        problems.append(f"octoedge.keptLogs.directory must be an absolute path, not {kept.directory!r}")
    for key, value in (("containerKiB", kept.container_kib), ("totalMiB", kept.total_mib), ("days", kept.days)):
        problems += positive(f"octoedge.keptLogs.{key}", value)
    problems += _telemetry(config.octoedge.telemetry)
    problems += _doors(config.octoedge.doors)
    return problems + level(config.octoedge.log_level)


def _telemetry(telemetry: CloudTelemetry) -> list[str]:
    problems = []
    if telemetry.directory and not telemetry.directory.startswith("/"):
        problems.append(f"octoedge.telemetry.directory must be an absolute path, not {telemetry.directory!r}")
    for key, value in (("maxMiB", telemetry.max_mib), ("maxDays", telemetry.max_days)):
        problems += positive(f"octoedge.telemetry.{key}", value)
    names = [export.name for export in telemetry.exports]
    for number, export in enumerate(telemetry.exports):
        where = f"octoedge.telemetry.exports[{number}]"
        if not export.name or names.count(export.name) > 1:
            problems.append(f"{where}.name must be there, and no other's: {export.name!r}")
        if export.kind not in _EXPORTS:
            problems.append(f"{where}.kind must be one of {', '.join(_EXPORTS)}, not {export.kind!r}")
        elif not export.url.startswith(_EXPORTS[export.kind]):
            problems.append(f"{where}.url must begin with one of {' '.join(_EXPORTS[export.kind])}, not {export.url!r}")
    return problems


def _doors(doors: Doors) -> list[str]:
    problems = []
    if doors.return_within_days < 0:
        problems.append("octoedge.doors.returnWithinDays must not be below 0; 0 asks for a join token at once")
    for key, value in (
        ("handshakes", doors.handshakes),
        ("handshakesPerAddress", doors.handshakes_per_address),
        ("connectionsPerAddress", doors.connections_per_address),
    ):
        problems += positive(f"octoedge.doors.{key}", value)
    return problems


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
    problems += positive("modules.cloudHub.tokenRefreshDuration", hub.token_refresh_duration)
    problems += positive("modules.cloudHub.edgeCertSigningDuration", hub.edge_cert_signing_duration)
    problems += positive("modules.cloudHub.keepaliveInterval", hub.keepalive_interval)
    return problems + positive("modules.cloudHub.nodeLimit", hub.node_limit)


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
