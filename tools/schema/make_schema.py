"""Make src/octoedge/apiserver/schema/schema.json, the compact table of facts about Kubernetes objects.

Three sources meet here: the JSON schemas of the PyPI package kubernetes-validate (types, required fields, merge keys,
list types), `field_numbers.json` (protobuf field numbers) and `facts.yaml` (defaults and enums). Run it in an
environment of its own; none of this is needed at run time:

    python -m venv /tmp/schema && /tmp/schema/bin/pip install kubernetes-validate
    /tmp/schema/bin/python tools/schema/make_schema.py

The notation of one field is `TYPE [=NUMBER] [required] [strategy=…] [key=…] [list=…] [keys=…] [atomic] [enum=…]
[default=JSON]`; TYPE is string, bytes, boolean, int32, int64, number, time, microtime, quantity, intstr, object, any,
the name of a definition, or one of those behind `[]` (list) or `{}` (map). `=2.19` means field 19 of the message in
field 2.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

VERSION = "v1.32.0-local"
HERE = Path(__file__).parent
TARGET = HERE.parents[1] / "src/octoedge/apiserver/schema/schema.json"

Definition = dict[str, Any]

BUILT_IN = {
    "meta.v1.Time": "time",
    "meta.v1.MicroTime": "microtime",
    "meta.v1.FieldsV1": "object",
    "api.resource.Quantity": "quantity",
    "util.intstr.IntOrString": "intstr",
    "pkg.runtime.RawExtension": "object",
    "apiextensions.v1.JSON": "any",
    "apiextensions.v1.JSONSchemaPropsOrArray": "any",
    "apiextensions.v1.JSONSchemaPropsOrBool": "any",
    "apiextensions.v1.JSONSchemaPropsOrStringArray": "any",
    "meta.v1.Patch": "object",
}
FORMATS = {("string", "byte"): "bytes", ("integer", "int32"): "int32", ("integer", "int64"): "int64"}
FORMATS |= {("string", "date-time"): "time"}
TYPES = {"integer": "int64", "object": "object"}


def main() -> None:
    """Read the sources, write the table."""
    facts = yaml.safe_load((HERE / "facts.yaml").read_text())
    numbers = json.loads((HERE / "field_numbers.json").read_text())
    source = load_definitions()
    names = reachable(expand(facts["roots"]), source)
    definitions = {name: fields(name, source[name], numbers.get(name, {}), facts) for name in sorted(names)}
    kinds = {kind: name for name in names for kind in kinds_of(source[name])}
    atomic = sorted(name for name in names if source[name].get("x-kubernetes-map-type") == "atomic")
    TARGET.write_text(dump(definitions, dict(sorted(kinds.items())), atomic))
    print(f"{TARGET}: {len(definitions)} definitions, {len(kinds)} kinds", file=sys.stderr)


def load_definitions() -> dict[str, Definition]:
    """The package's definitions by short name."""
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / VERSION
    found = json.loads((folder / "_definitions.json").read_text())["$defs"]
    return {short(name): definition for name, definition in found.items()}


def short(name: str) -> str:
    """`io.k8s.api.core.v1.Pod` → `core.v1.Pod`."""
    return ".".join(name.split(".")[-3:])


def expand(patterns: list[str]) -> list[str]:
    """`core.v1.{A,B}` → `core.v1.A`, `core.v1.B`."""
    names: list[str] = []
    for pattern in patterns:
        found = re.fullmatch(r"(.*)\{(.*)\}", pattern)
        names += [found[1] + part for part in found[2].split(",")] if found else [pattern]
    return names


def reachable(roots: list[str], source: dict[str, Definition]) -> set[str]:
    """The roots and everything they refer to."""
    seen: set[str] = set()
    todo = list(roots)
    while todo:
        name = todo.pop()
        if name in seen or name in BUILT_IN:
            continue
        seen.add(name)
        todo += [short(ref) for ref in re.findall(r'"#/\$defs/([^"]+)"', json.dumps(source[name]))]
    return seen


def kinds_of(definition: Definition) -> list[str]:
    """`group/version/Kind` of a definition that is a kind; kinds of every group (DeleteOptions) only once."""
    named = definition.get("x-kubernetes-group-version-kind", [])
    if len(named) > 2:
        named = [gvk for gvk in named if gvk["group"] == ""]
    return [f"{gvk['group']}/{gvk['version']}/{gvk['kind']}" for gvk in named]


def fields(name: str, definition: Definition, numbers: dict[str, str], facts: dict[str, Any]) -> dict[str, str]:
    """The fields of one definition in the table's notation."""
    required = set(definition.get("required", []))
    defaults = facts["defaults"].get(name, {})
    enums = facts["enums"].get(name, {})
    rows: dict[str, str] = {}
    for field, schema in definition.get("properties", {}).items():
        words = [type_of(schema)]
        words += [f"={numbers[field]}"] if field in numbers else []
        words += ["required"] if field in required else []
        words += merge_words(schema)
        words += [f"enum={','.join(enums[field])}"] if field in enums else []
        words += [f"default={json.dumps(defaults[field], separators=(',', ':'))}"] if field in defaults else []
        rows[field] = " ".join(words)
    unknown = (set(defaults) | set(enums)) - set(rows)
    if unknown:
        raise SystemExit(f"facts.yaml: {name} has no field {', '.join(sorted(unknown))}")
    return rows


def merge_words(schema: Definition) -> list[str]:
    """How strategic merge and server-side apply treat the field."""
    words = []
    for key, word in (("patch-strategy", "strategy"), ("patch-merge-key", "key"), ("list-type", "list")):
        if f"x-kubernetes-{key}" in schema:
            words.append(f"{word}={schema[f'x-kubernetes-{key}']}")
    if "x-kubernetes-list-map-keys" in schema:
        words.append(f"keys={','.join(schema['x-kubernetes-list-map-keys'])}")
    if schema.get("x-kubernetes-map-type") == "atomic":
        words.append("atomic")
    return words


def type_of(schema: Definition) -> str:
    """The type of a field in the table's notation."""
    if "$ref" in schema:
        name = short(schema["$ref"])
        return BUILT_IN.get(name, name)
    kind = schema.get("type", "any")
    kind = next(part for part in kind if part != "null") if isinstance(kind, list) else kind
    if kind == "array":
        return "[]" + type_of(schema["items"])
    if kind == "object" and "additionalProperties" in schema:
        return "{}" + type_of(schema["additionalProperties"])
    return FORMATS.get((kind, schema.get("format")), TYPES.get(kind, kind))


def dump(definitions: dict[str, Any], kinds: dict[str, str], atomic: list[str]) -> str:
    """JSON with one definition a line."""

    def lines(rows: dict[str, Any]) -> str:
        return ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())

    head = f'{{"kinds": {{\n{lines(kinds)}\n}},\n"atomic": {json.dumps(atomic)},\n'
    return f'{head}"definitions": {{\n{lines(definitions)}\n}}}}\n'


if __name__ == "__main__":
    main()
