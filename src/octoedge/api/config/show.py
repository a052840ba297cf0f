"""Typed configuration → YAML, as `--defaultconfig` and `--minconfig` print it and `up` writes it."""

from __future__ import annotations

from typing import Any

from octoedge.api.config.cloudcore import CloudCoreConfig
from octoedge.api.config.edgecore import EdgeCoreConfig
from octoedge.api.config.section import Duration, Section, format_duration

_CLOUD_MINIMUM = """
modules.cloudHub: advertiseAddress enable https nodeLimit tlsCAFile tlsCAKeyFile tlsCertFile tlsPrivateKeyFile
                  unixsocket websocket
modules.router: enable address port restTimeout
modules.iptablesManager: enable mode
"""
_EDGE_MINIMUM = """
database: dataSource
modules.deviceTwin: enable dmiSockPath
modules.edged: *
modules.edgeHub: enable heartbeat httpServer tlsCaFile tlsCertFile tlsPrivateKeyFile token websocket
modules.eventBus: enable mqttMode mqttPassword mqttPubClientID mqttQOS mqttRetain mqttServerExternal mqttServerInternal
                  mqttSubClientID mqttUsername
"""


def to_tree(config: Section) -> dict[str, Any]:
    """`config` as plain data with the file's keys; default sections of our own are left out."""
    tree: dict[str, Any] = {}
    for name, key in zip(config.__struct_fields__, config.__struct_encode_fields__, strict=True):
        value = getattr(config, name)
        if name in config.hidden_when_empty and (not value or value == type(value)()):
            continue
        tree[key] = _plain(value)
    return tree


def dump_yaml(config: Section) -> str:
    """`config` as the text of a file."""
    from octoedge.api.config.yaml import dump

    return dump(to_tree(config))


def min_cloudcore(config: CloudCoreConfig) -> dict[str, Any]:
    """The keys that most people set, as plain data. Unlike Go's it can be used as it is: modules stay switched on."""
    tree = _cut(to_tree(config), _CLOUD_MINIMUM)
    tree["modules"]["cloudHub"]["nodeLimit"] = 1000
    return tree


def min_edgecore(config: EdgeCoreConfig) -> dict[str, Any]:
    """The keys that most people set, as plain data. Unlike Go's it can be used as it is: modules stay switched on."""
    return {**_cut(to_tree(config), _EDGE_MINIMUM), "edgecoreVersion": config.edgecore_version}


def _cut(tree: dict[str, Any], table: str) -> dict[str, Any]:
    result: dict[str, Any] = {"apiVersion": tree["apiVersion"], "kind": tree["kind"]}
    path, keys = "", ""
    for word in table.split():
        if word.endswith(":"):
            path = word[:-1]
            continue
        keys = word
        source, target = tree, result
        for part in path.split("."):
            source, target = source[part], target.setdefault(part, {})
        target.update(source if keys == "*" else {keys: source[keys]})
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return to_tree(value)
    if isinstance(value, Duration):
        return format_duration(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
