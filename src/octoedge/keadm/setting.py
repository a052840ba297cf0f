"""`--set`: changes to a configuration by paths of KubeEdge's field names (spec: keadm, section 10).

    Modules.EdgeStream.Enable=true,Modules.Edged.TailoredKubeletConfig.ClusterDNS[0]=10.0.0.10

Field names differ from the file's keys in case only, so a path is followed without regard to case; a name that is in no
section is found out when the whole file is checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from octoedge.errors import ConfigError

MAX_INDEX = 255
_STEP = re.compile(r"([A-Za-z][\w.-]*?)(?:\[(\d{1,3})\])?", re.ASCII)
_QUOTES = "'\""


def changed(tree: dict[str, Any], texts: Sequence[str]) -> dict[str, Any]:
    """`tree` with every `path=value` of the texts put in. Raises `ConfigError` for a path that leads nowhere."""
    for text in texts:
        for item in split(text):
            path, equals, value = item.partition("=")
            if equals:
                _put(tree, path.strip(), parse(value.strip()))
    return tree


def split(text: str) -> Iterator[str]:
    """The items between commas; commas inside `{}` or quotes do not count. One without a `=` is left out."""
    depth, quote, begun = 0, "", 0
    for at, sign in enumerate(f"{text},"):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in _QUOTES:
            quote = sign
        elif sign in "{}":
            depth += 1 if sign == "{" else -1
        elif sign == "," and depth == 0:
            if "=" in text[begun:at]:
                yield text[begun:at]
            begun = at + 1
    if quote or depth:
        raise ConfigError(f"--set {text!r}: a quote or brace is left open")


def parse(text: str) -> Any:
    """A value: number, true or false, text, `{a,b}` as a list, `{k:v}` as a map."""
    if text.startswith("{") and text.endswith("}"):
        items = [item.strip() for item in text[1:-1].split(",") if item.strip()]
        if items and all(":" in item and item[0] not in _QUOTES for item in items):
            return {key.strip(): parse(value.strip()) for key, _, value in (item.partition(":") for item in items)}
        return [parse(item) for item in items]
    if len(text) > 1 and text[0] in _QUOTES and text[-1] == text[0]:
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    for kind, shape in ((int, r"[+-]?\d{1,18}"), (float, r"[+-]?\d{1,18}\.\d{1,18}")):
        if re.fullmatch(shape, text, re.ASCII):
            return kind(text)
    return text


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *sections, last = path.split(".")
    here: Any = tree
    for section in sections:
        here = _descend(here, section, path)
    name, index = _step(last, path)
    key = _key(here, name, path)
    if index is None:
        here[key] = value
        return
    items = here[key] = list(here.get(key) or [])
    items.extend([""] * (index + 1 - len(items)))
    items[index] = value


def _descend(here: Any, section: str, path: str) -> Any:
    name, index = _step(section, path)
    key = _key(here, name, path)
    if index is None:
        if here.get(key) is None:
            here[key] = {}
        return here[key]
    items = here[key] = list(here.get(key) or [])
    items.extend({} for _ in range(index + 1 - len(items)))
    return items[index]


def _step(text: str, path: str) -> tuple[str, int | None]:
    found = _STEP.fullmatch(text)
    if not found:
        raise ConfigError(f"--set {path}: {text!r} is no field name, such as Modules or ClusterDNS[0]")
    index = None if found[2] is None else int(found[2])
    if index is not None and index > MAX_INDEX:
        raise ConfigError(f"--set {path}: a list has at most {MAX_INDEX + 1} items")
    return found[1], index


def _key(here: Any, name: str, path: str) -> str:
    """The key as the file spells it; a new one as Go's field name turns into a key."""
    if not isinstance(here, dict):
        raise ConfigError(f"--set {path}: there is nothing below the part before {name}")
    return next((key for key in here if key.lower() == name.lower()), name[:1].lower() + name[1:])
