"""The rules of CustomResourceDefinitions themselves: names, versions, and schemas that are structural."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from octoedge.apiserver.crd import invariants
from octoedge.apiserver.crd.budget import Budget, TooCostly
from octoedge.apiserver.crd.columns import COLUMN_TYPES, PathError, compile_path
from octoedge.apiserver.crd.names import is_established, settled, taken_by
from octoedge.apiserver.crd.pruning import default, prune
from octoedge.apiserver.crd.structural import MISSING, SchemaReader, Structural
from octoedge.apiserver.crd.validation import validate_part
from octoedge.apiserver.writing.metadata import Cause, forbidden_field, label_1035, required, subdomain, wrong

Json = dict[str, Any]

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
RESOURCE = "customresourcedefinitions.apiextensions.k8s.io"

_PROTECTED = ("k8s.io", "kubernetes.io")
_APPROVED = "api-approved.kubernetes.io"


def normalize(obj: Json) -> None:
    """Fill in what follows from other fields."""
    spec = obj["spec"]
    names = spec.setdefault("names", {})
    if names.get("kind"):
        names["singular"] = names.get("singular") or names["kind"].lower()
        names["listKind"] = names.get("listKind") or f"{names['kind']}List"
    spec.setdefault("conversion", {"strategy": "None"})
    if not obj["metadata"].get("deletionTimestamp"):
        prepare(obj)
    stored = obj.setdefault("status", {}).setdefault("storedVersions", [])
    stored += [
        row["name"] for row in spec.get("versions") or [] if row.get("storage") and row.get("name") not in stored
    ]


def prepare(obj: Json) -> None:
    """A definition goes only after its objects; otherwise they would be back with the next one of its name."""
    finalizers = obj["metadata"].setdefault("finalizers", [])
    if FINALIZER not in finalizers:
        finalizers.append(FINALIZER)


def settle(obj: Json, others: list[Json], now: str) -> None:
    """Give the definition its names and conditions."""
    taken = taken_by(others, obj["spec"].get("group") or "", obj["metadata"].get("name") or "")
    obj["status"] = settled(obj, taken, now)


def check(obj: Json) -> list[Cause]:
    """What is wrong with a definition."""
    return list(_check(obj))


def check_update(new: Json, old: Json) -> list[Cause]:
    """What is wrong with a changed definition."""
    causes = list(_check(new))
    if is_established(old):
        for path in (("scope",), ("names", "kind")):
            before, after = _at(old["spec"], path), _at(new["spec"], path)
            if before != after:
                causes.append(wrong(f"spec.{'.'.join(path)}", after, "field is immutable"))
    present = [row.get("name") for row in new["spec"].get("versions") or []]
    for index, name in enumerate((new.get("status") or {}).get("storedVersions") or []):
        if name not in present:
            causes.append(wrong(f"status.storedVersions[{index}]", name, "must appear in spec.versions"))
    return causes


def _check(obj: Json) -> Iterator[Cause]:
    spec, name = obj["spec"], obj["metadata"].get("name") or ""
    group, names = spec.get("group") or "", spec.get("names") or {}
    if name and name != f"{names.get('plural')}.{group}":
        yield wrong("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    yield from _check_group(group, obj["metadata"].get("annotations") or {})
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        yield from _choice("spec.scope", spec.get("scope"), ("Cluster", "Namespaced"))
    yield from _check_names(names)
    yield from _check_conversion(spec)
    yield from _check_versions(spec.get("versions") or [])


def _check_group(group: str, annotations: Json) -> Iterator[Cause]:
    if not group:
        yield required("spec.group")
    elif subdomain(group):
        yield wrong("spec.group", group, subdomain(group))
    elif "." not in group:
        yield wrong("spec.group", group, "should be a domain with at least one dot")
    elif any(group == one or group.endswith(f".{one}") for one in _PROTECTED) and not annotations.get(_APPROVED):
        where = f"metadata.annotations[{_APPROVED}]"
        yield required(where, "protected groups must have approval annotation")


def _check_names(names: Json) -> Iterator[Cause]:
    for key in ("plural", "singular"):
        yield from _check_label(f"spec.names.{key}", names.get(key) or "")
    for key in ("kind", "listKind"):
        yield from _check_label(f"spec.names.{key}", names.get(key) or "", lower=True)
    for key in ("shortNames", "categories"):
        for index, name in enumerate(names.get(key) or []):
            yield from _check_label(f"spec.names.{key}[{index}]", name)
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        yield wrong("spec.names.listKind", names["listKind"], "kind and listKind may not be the same")


def _check_label(path: str, name: str, *, lower: bool = False) -> Iterator[Cause]:
    if not name:
        yield required(path)
    elif label_1035(name.lower() if lower else name):
        yield wrong(path, name, label_1035(name.lower() if lower else name))


def _check_conversion(spec: Json) -> Iterator[Cause]:
    strategy = (spec.get("conversion") or {}).get("strategy")
    if strategy == "Webhook":
        text = "conversion webhooks are not supported by this API server; use strategy None"
        yield forbidden_field("spec.conversion.strategy", text)
    elif strategy != "None":
        yield from _choice("spec.conversion.strategy", strategy, ("None", "Webhook"))
    if spec.get("preserveUnknownFields"):
        text = "must be false; a schema says where unknown fields are kept (x-kubernetes-preserve-unknown-fields)"
        yield wrong("spec.preserveUnknownFields", True, text)


def _check_versions(versions: list[Json]) -> Iterator[Cause]:
    if not versions:
        yield required("spec.versions", "must have at least one version")
        return
    seen: set[str] = set()
    for index, row in enumerate(versions):
        path, name = f"spec.versions[{index}]", row.get("name") or ""
        yield from _check_label(f"{path}.name", name)
        if name in seen:
            yield wrong("spec.versions", name, "must contain unique version names")
        seen.add(name)
        yield from _check_schema(row, path)
        yield from _check_columns(row, path)
        yield from _check_subresources(row.get("subresources") or {}, f"{path}.subresources")
    count = sum(bool(row.get("storage")) for row in versions)
    if count != 1:
        text = "must have exactly one version marked as storage version"
        yield wrong("spec.versions", ", ".join(str(row.get("name")) for row in versions), text)


def _check_schema(row: Json, path: str) -> Iterator[Cause]:
    schema = (row.get("schema") or {}).get("openAPIV3Schema")
    where = f"{path}.schema.openAPIV3Schema"
    if schema is None:
        yield required(where, "schemas are required")
        return
    reader = SchemaReader()
    root = reader.read(schema, where)
    yield from reader.causes
    if not reader.causes:
        yield from _check_defaults(root, where)
        try:
            yield from invariants.check_rules(root, where, Budget())
        except TooCostly:
            yield forbidden_field(where, "compiling the rules takes more work than one request may cause")


def _check_defaults(root: Structural, path: str) -> Iterator[Cause]:
    """Defaults must keep to their own schemas."""
    budget = Budget()
    todo = [(root, path)]
    try:
        while todo:
            node, here = todo.pop()
            budget.spend()
            if node.default is not MISSING:
                yield from _check_default(node, f"{here}.default", budget)
            todo += [(inner, f"{here}.properties[{name}]") for name, inner in node.properties.items()]
            todo += [(node.items, f"{here}.items")] if node.items else []
            todo += [(node.additional, f"{here}.additionalProperties")] if node.additional else []
    except TooCostly:
        yield forbidden_field(path, "checking the defaults takes more work than one request may cause")


def _check_default(node: Structural, path: str, budget: Budget) -> Iterator[Cause]:
    unknown: list[str] = []
    prune(node, node.default, unknown)
    if unknown:
        yield wrong(path, str(node.default)[:200], f"must not have unknown fields: {', '.join(unknown[:5])}")
    for reason, field, text in validate_part(node, default(node, node.default), "", budget):
        yield (reason, path if field == "<nil>" else f"{path}.{field}", text)


def _check_columns(row: Json, path: str) -> Iterator[Cause]:
    for index, column in enumerate(row.get("additionalPrinterColumns") or []):
        here = f"{path}.additionalPrinterColumns[{index}]"
        if not column.get("name"):
            yield required(f"{here}.name")
        if column.get("type") not in COLUMN_TYPES:
            yield from _choice(f"{here}.type", column.get("type"), COLUMN_TYPES)
        yield from _check_path(f"{here}.jsonPath", column.get("jsonPath") or "")
    for index, one in enumerate(row.get("selectableFields") or []):
        here, text = f"{path}.selectableFields[{index}].jsonPath", one.get("jsonPath") or ""
        yield from _check_path(here, text)
        if "[" in text:
            yield wrong(here, text, "must be a simple path to a single value")


def _check_path(path: str, text: str) -> Iterator[Cause]:
    if not text:
        yield required(path)
        return
    try:
        compile_path(text)
    except (PathError, ValueError) as error:
        yield wrong(path, text[:200], f"is not a JSONPath that can be used here: {error}")


def _check_subresources(subresources: Json, path: str) -> Iterator[Cause]:
    scale = subresources.get("scale")
    if scale is None:
        return
    for key, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        text = scale.get(key) or ""
        if not text:
            yield required(f"{path}.scale.{key}")
        elif not text.startswith(root) or "[" in text:
            yield wrong(f"{path}.scale.{key}", text, f"should be a json path under {root[:-1]}")
    text = scale.get("labelSelectorPath") or ""
    if text and not text.startswith((".spec.", ".status.")):
        yield wrong(f"{path}.scale.labelSelectorPath", text, "should be a json path under either .spec or .status")


def _choice(path: str, value: Any, choices: tuple[str, ...]) -> Iterator[Cause]:
    if not value:
        yield required(path)
        return
    shown = ", ".join(f'"{one}"' for one in choices)
    yield ("FieldValueNotSupported", path, f'Unsupported value: "{value}": supported values: {shown}')


def _at(obj: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        obj = obj.get(key) if isinstance(obj, dict) else None
    return obj
