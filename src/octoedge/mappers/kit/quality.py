"""What a mapper declares of itself: a quality.yaml beside it, in a package or next to its file, read and judged.

The rules are in rules.yaml. A package has the declaration where its entry point leads (`boiler/link.py` →
`boiler/quality.yaml`), a single file `boiler.py` in `boiler.quality.yaml`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import yaml

from octoedge.errors import ConfigError
from octoedge.mappers.framework.mapper import ENTRY_POINTS

MAX_BYTES = 64 * 1024
_KIT = "kit: "

Declared = Mapping[str, Mapping[str, str]]
"""Rule → {done: what shows it} or {exempt: why}."""


def rules() -> dict[str, str]:
    """Each rule and its meaning."""
    return dict(yaml.safe_load(files("octoedge.mappers.kit").joinpath("rules.yaml").read_text()))


def declared(what: str) -> Declared | None:
    """What the mapper of a file or protocol declares; None when it declares nothing. Raises `ConfigError`."""
    text, where = _text(what)
    if text is None:
        return None
    try:
        said = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is no YAML: {error}") from error
    well = isinstance(said, dict) and all(
        isinstance(one, dict) and len(one) == 1 and set(one) <= {"done", "exempt"} and all(map(str, one.values()))
        for one in said.values()
    )
    if not well:
        raise ConfigError(f"{where} must say of each rule {{done: what shows it}} or {{exempt: why}}")
    return {str(rule): {key: str(value) for key, value in one.items()} for rule, one in said.items()}


def problems(said: Declared, checks: Collection[str], failed: Collection[str]) -> list[str]:
    """What is wrong with a declaration, given all checks of the kit and those that the mapper failed. Pure."""
    known = rules()
    found = [f"{rule} is no rule" for rule in said.keys() - known.keys()]
    found += [f"{rule} is not declared: {known[rule]}" for rule in known if rule not in said]
    for rule, one in said.items():
        shown = one.get("done", "")
        if len(one.get("exempt", "a reason")) < 8:
            found.append(f"{rule} is exempt for no reason")
        if shown.startswith(_KIT):
            title = shown.removeprefix(_KIT)
            found += [] if title in checks else [f"{rule}: the kit has no check {title!r}"]
            found += [f"{rule} is declared done, and the check {title!r} fails"] if title in failed else []
    return found


def _text(what: str) -> tuple[str | None, str]:
    if Path(what).suffix == ".py":
        path = Path(what).with_suffix(".quality.yaml")
        return (path.read_text()[:MAX_BYTES] if path.is_file() else None), str(path)
    for entry in entry_points(group=ENTRY_POINTS, name=what):
        module = entry.value.partition(":")[0]
        for package in dict.fromkeys((module, module.rpartition(".")[0])):
            try:
                place = files(package).joinpath("quality.yaml")
            except (TypeError, ImportError):  # a module, not a package
                continue
            if place.is_file():
                return place.read_text()[:MAX_BYTES], str(place)
    return None, what
