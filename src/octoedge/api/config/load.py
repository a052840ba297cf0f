"""Read configuration files.

bytes (limited) → YAML without surprises (no tags, no dates, no double keys) → `strict` → `check` → the typed tree.
PyYAML is imported only here and only when a file is read.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octoedge.api.config.check import edgecore_problems
from octoedge.api.config.edgecore import EdgeCoreConfig
from octoedge.api.config.kubelet import EVICTION_HARD
from octoedge.api.config.strict import convert
from octoedge.errors import ConfigError

if TYPE_CHECKING:
    from octoedge.api.config.cloudcore import CloudCoreConfig

MAX_BYTES = 1024 * 1024
"""Largest configuration file; real ones have under 20 KiB."""


def load_cloudcore(path: str | Path, *, local_ip: str = "127.0.0.1") -> CloudCoreConfig:
    """CloudCore's configuration; `local_ip` stands in for what the file leaves open."""
    return parse_cloudcore(_read(Path(path)), str(path), local_ip=local_ip)


def load_edgecore(path: str | Path, *, local_ip: str = "127.0.0.1") -> EdgeCoreConfig:
    """EdgeCore's configuration; `local_ip` stands in for what the file leaves open."""
    return parse_edgecore(_read(Path(path)), str(path), local_ip=local_ip)


def default_cloudcore(*, local_ip: str = "127.0.0.1") -> CloudCoreConfig:
    """The configuration of an empty file."""
    return parse_cloudcore(b"{}", "the default configuration", local_ip=local_ip)


def default_edgecore(*, local_ip: str = "127.0.0.1") -> EdgeCoreConfig:
    """The configuration of an empty file."""
    return parse_edgecore(b"{}", "the default configuration", local_ip=local_ip)


def parse_cloudcore(data: bytes, where: str, *, local_ip: str = "127.0.0.1") -> CloudCoreConfig:
    """CloudCore's configuration from the bytes of a file called `where` in errors."""
    # The agent reads its own file by this module and does without the cloud's.
    from octoedge.api.config.checkcloud import cloudcore_problems
    from octoedge.api.config.cloudcore import CloudCoreConfig

    tree = _parse(data, where)
    _fill(tree, "modules.cloudHub.advertiseAddress", [local_ip])
    config = convert(tree, CloudCoreConfig, where)
    _refuse(cloudcore_problems(config), where)
    return config


def parse_edgecore(data: bytes, where: str, *, local_ip: str = "127.0.0.1") -> EdgeCoreConfig:
    """EdgeCore's configuration from the bytes of a file called `where` in errors."""
    tree = _parse(data, where)
    _fill(tree, "modules.edgeHub.websocket.server", f"{local_ip}:10000")
    _fill(tree, "modules.edgeHub.quic.server", f"{local_ip}:10001")
    _fill(tree, "modules.edgeHub.httpServer", f"https://{local_ip}:10002")
    _add_to(tree, "modules.edged.tailoredKubeletConfig.evictionHard", EVICTION_HARD)
    config = convert(tree, EdgeCoreConfig, where)
    _refuse(edgecore_problems(config), where)
    return config


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"the configuration file {path} is larger than {MAX_BYTES} bytes")
    return data


def _parse(data: bytes, where: str) -> Any:
    import yaml

    from octoedge.api.config.yaml import Loader

    if len(data) > MAX_BYTES:
        raise ConfigError(f"{where} is larger than {MAX_BYTES} bytes")
    loader = None
    try:
        loader = Loader(data.decode())
        tree = loader.get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not YAML: {' '.join(str(error).split())[:500]}") from error
    finally:
        if loader is not None:
            loader.dispose()
    # A private copy: an alias must not let one place change another.
    return {} if tree is None else copy.deepcopy(tree)


def _fill(tree: Any, path: str, value: Any) -> None:
    """Set a missing key; wrong shapes on the way are left for `strict` to complain about."""
    *sections, key = path.split(".")
    for section in sections:
        if not isinstance(tree, dict):
            return
        tree = tree.setdefault(_same(tree, section), {})
    if isinstance(tree, dict):
        tree.setdefault(_same(tree, key), value)


def _add_to(tree: Any, path: str, defaults: dict[str, str]) -> None:
    """A map in the file adds to the default map, as Go decodes it."""
    *sections, key = path.split(".")
    for section in sections:
        if not isinstance(tree, dict):
            return
        tree = tree.get(_same(tree, section))
    if isinstance(tree, dict) and isinstance(given := tree.get(_same(tree, key)), dict):
        tree[_same(tree, key)] = {**defaults, **given}


def _same(tree: dict[Any, Any], key: str) -> str:
    """The key as `tree` spells it."""
    if key in tree:
        return key
    return next((str(there) for there in tree if str(there).lower() == key.lower()), key)


def _refuse(problems: list[str], where: str) -> None:
    if problems:
        raise ConfigError(f"{where}: " + "; ".join(problems))
