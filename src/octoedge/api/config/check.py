"""What EdgeCore's configuration must fulfil beyond its types (spec: config, the parts called Validation).

Every check appends sentences; none stops at the first. A module that is switched off is not checked.
"""

from __future__ import annotations

import re

from octoedge.api.config.edgecore import EdgeCoreConfig, Edged, EdgeHub

_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_BYTE = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_PRIVATE = (
    rf"(127|10)(\.{_BYTE}){{3}}|172\.(1[6-9]|2\d|3[01])(\.{_BYTE}){{2}}|192\.168(\.{_BYTE}){{2}}|169\.254(\.{_BYTE}){{2}}"
    rf"|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])(\.{_BYTE}){{2}}|::1|f[cd][0-9a-f]{{2}}:[0-9a-f:]+|fe[89ab][0-9a-f]:[0-9a-f:]+"
)
LEVELS = ("debug", "info", "warning", "error")


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
        problems += positive("modules.edgeStream.handshakeTimeout", modules.edge_stream.handshake_timeout)
    problems += positive("octoedge.logTails.seconds", config.octoedge.log_tails.seconds)
    telemetry = config.octoedge.telemetry
    for key, value in (("maxMiB", telemetry.max_mib), ("maxDays", telemetry.max_days), ("seconds", telemetry.seconds)):
        problems += positive(f"octoedge.telemetry.{key}", value)
    if config.octoedge.edge_dns.enable:
        problems += _edge_dns(config)
    return problems + level(config.octoedge.log_level)


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


def _edge_dns(config: EdgeCoreConfig) -> list[str]:
    key, listen = "octoedge.edgeDNS.listen", config.octoedge.edge_dns.listen
    problems = (
        [] if config.modules.meta_manager.enable else ["octoedge.edgeDNS.enable needs modules.metaManager.enable"]
    )
    problems += [] if listen else [f"{key} must name an address"]
    server = config.modules.meta_manager.meta_server
    taken = server.dummy_server.rpartition(":")[0] if server.enable else ""
    for text in listen:
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536 and _is_private(host)):
            problems.append(f"{key} must be IP:port with an address that is not public, not {text!r}")
        elif host.startswith("169.254.") and taken.startswith("169.254.") and host != taken:
            problems.append(
                f"{key}: of the link-local addresses only that of metaServer.dummyServer, {taken}, can be had"
            )
    return problems


def _is_private(host: str) -> bool:
    """Whether an IP address is one of a private network, link-local or loopback."""
    return bool(re.fullmatch(_PRIVATE, host.lower(), re.ASCII))


def _edge_hub(hub: EdgeHub) -> list[str]:
    problems: list[str] = []
    if hub.websocket.enable == hub.quic.enable:
        problems.append("exactly one of modules.edgeHub.websocket.enable and modules.edgeHub.quic.enable must be true")
    if hub.message_qps < 0:
        problems.append("modules.edgeHub.messageQPS must not be below 0")
    if hub.message_burst < 0:
        problems.append("modules.edgeHub.messageBurst must not be below 0")
    return problems + positive("modules.edgeHub.heartbeat", hub.heartbeat)


def positive(key: str, value: int) -> list[str]:
    """What is wrong with a number that must be above 0."""
    return [] if value > 0 else [f"{key} must be above 0, not {value}"]


def level(value: str) -> list[str]:
    """What is wrong with a log level."""
    return [] if value in LEVELS else [f"octoedge.logLevel must be one of {', '.join(LEVELS)}, not {value!r}"]
