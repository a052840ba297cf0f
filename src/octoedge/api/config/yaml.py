"""YAML as configuration files need it; importing this imports PyYAML.

Plain data only. Dates stay text, a key that stands twice is an error, both as on the Go side.
"""

from __future__ import annotations

from typing import Any

import yaml


class Loader(yaml.SafeLoader):
    """Reads one document."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (PyYAML's own name and form)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = getattr(key, "value", "")
            if isinstance(name, str) and name != "<<" and name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} stands twice", key.start_mark)
            if isinstance(name, str):
                seen.add(name)
        return super().construct_mapping(node, deep)


def dump(tree: Any) -> str:
    """`tree` as block-style YAML with sorted keys."""
    return str(yaml.safe_dump(tree, default_flow_style=False, sort_keys=True, allow_unicode=True))
