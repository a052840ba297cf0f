"""`modules.eventBus` of the configuration, made into the brokers to talk to. Pure."""

from __future__ import annotations

import enum
from pathlib import Path

import msgspec

from octoedge.api.config.edgecore import EventBus as Given
from octoedge.errors import ConfigError
from octoedge.transport.mqtt import Broker


class Mode(enum.IntEnum):
    """`mqttMode`"""

    INTERNAL = 0
    BOTH = 1
    EXTERNAL = 2


INTERNAL = "internal"
"""Name of the side that is the node's own broker."""


class Side(msgspec.Struct, frozen=True):
    """One broker, and how EventBus publishes there."""

    name: str
    broker: Broker
    quality: int
    retain: bool
    shown: str = ""
    """Where clients find it, when EventBus itself comes another way."""


def mode(given: Given) -> Mode:
    """Raises `ConfigError` when there is no such mode."""
    try:
        return Mode(given.mqtt_mode)
    except ValueError:
        text = (
            f"modules.eventBus.mqttMode is {given.mqtt_mode}; it is 0 (own broker), 1 (both) or 2 (an external broker)"
        )
        raise ConfigError(text) from None


def sides(given: Given, node: str, way: Path | None = None) -> list[Side]:
    """The brokers, as KubeEdge means the keys: quality and retain are those of the own broker.

    `way`: the Unix socket by which EventBus comes to the own broker, where that asks its clients who they are.
    """
    if given.mqtt_qos not in (0, 1, 2):
        raise ConfigError(f"modules.eventBus.mqttQOS is {given.mqtt_qos}; it is 0, 1 or 2")
    wanted = mode(given)
    found: list[Side] = []
    if wanted is not Mode.EXTERNAL:
        shown = given.mqtt_server_internal
        own = Broker(f"unix://{way}" if way else shown, f"octoedge-{node}", clean=True)
        found.append(Side(INTERNAL, own, min(given.mqtt_qos, 1), given.mqtt_retain, shown))
    if wanted is not Mode.INTERNAL:
        found.append(Side("external", _external(given, node), 1, False))
    return found


def _external(given: Given, node: str) -> Broker:
    tls = given.event_bus_tls
    return Broker(
        given.mqtt_server_external,
        # A name that stays, and a session that is not clean: the broker keeps what comes while EdgeCore restarts.
        given.mqtt_sub_client_id or f"octoedge-{node}",
        clean=False,
        username=given.mqtt_username,
        password=given.mqtt_password,
        ca_file=tls.tls_mqtt_ca_file if tls.enable else "",
        certificate_file=tls.tls_mqtt_cert_file if tls.enable else "",
        key_file=tls.tls_mqtt_private_key_file if tls.enable else "",
    )
