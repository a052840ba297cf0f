"""A checked configuration from one process to another, without PyYAML in the one that receives it.

    child: file → `load` → `pack` → bytes ──pipe──► `unpack` → the typed tree: the agent that goes on

What reading a file needs (PyYAML, the checks, the other program's sections) would stay in the agent's memory for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from octoedge.api.config.section import decode_hook

if TYPE_CHECKING:
    from octoedge.api.config.edgecore import EdgeCoreConfig


def pack(config: EdgeCoreConfig) -> bytes:
    """The configuration as JSON with the file's keys."""
    from octoedge.api.config.show import to_tree

    return msgspec.json.encode(to_tree(config))


def unpack(data: bytes) -> EdgeCoreConfig:
    """What `pack` packed."""
    from octoedge.api.config.edgecore import EdgeCoreConfig

    return msgspec.json.decode(data, type=EdgeCoreConfig, dec_hook=decode_hook)
