"""The rules of Roles and bindings: what is filled in, and what makes one Invalid."""

from __future__ import annotations

from typing import Any

from octoedge.apiserver.access.rbac.policy import GROUP
from octoedge.apiserver.writing.metadata import Cause, required, wrong

Json = dict[str, Any]

_SUBJECT_GROUPS = {"User": GROUP, "Group": GROUP, "ServiceAccount": ""}


def path_segment(name: str) -> str:
    """What is wrong with `name` as a part of a path: roles may be called `system:node`."""
    if name in (".", ".."):
        return f"may not be '{name}'"
    for sign in "/%":
        if sign in name:
            return f"may not contain '{sign}'"
    return "must be no more than 253 characters" if len(name) > 253 else ""


def role(obj: Json) -> list[Cause]:
    """What is wrong with a Role: it can only speak of resources."""
    return _rules(obj, paths=False)


def cluster_role(obj: Json) -> list[Cause]:
    """What is wrong with a ClusterRole."""
    causes = _rules(obj, paths=True)
    aggregation = obj.get("aggregationRule")
    if aggregation is not None and not aggregation.get("clusterRoleSelectors"):
        causes.append(required("aggregationRule.clusterRoleSelectors", "at least one clusterRoleSelector required"))
    return causes


def _rules(obj: Json, *, paths: bool) -> list[Cause]:
    causes: list[Cause] = []
    for index, rule in enumerate(obj.get("rules") or []):
        here = f"rules[{index}]"
        urls = rule.get("nonResourceURLs")
        if not rule.get("verbs"):
            causes.append(required(f"{here}.verbs", "verbs must contain at least one value"))
        if urls:
            if not paths:
                text = "namespaced rules cannot apply to non-resource URLs"
                causes.append(wrong(f"{here}.nonResourceURLs", urls, text))
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                text = "rules cannot apply to both regular resources and non-resource URLs"
                causes.append(wrong(f"{here}.nonResourceURLs", urls, text))
            continue
        if not rule.get("apiGroups"):
            causes.append(required(f"{here}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            causes.append(required(f"{here}.resources", "resource rules must supply at least one resource"))
    return causes


def normalize_binding(obj: Json) -> None:
    """Fill in the groups of what a binding refers to."""
    reference = obj.get("roleRef")
    if isinstance(reference, dict) and not reference.get("apiGroup"):
        reference["apiGroup"] = GROUP
    for subject in obj.get("subjects") or []:
        if not subject.get("apiGroup") and _SUBJECT_GROUPS.get(subject.get("kind", "")):
            subject["apiGroup"] = _SUBJECT_GROUPS[subject["kind"]]


def binding(obj: Json) -> list[Cause]:
    """What is wrong with a RoleBinding or a ClusterRoleBinding."""
    reference = obj.get("roleRef") or {}
    kinds = ("Role", "ClusterRole") if obj["kind"] == "RoleBinding" else ("ClusterRole",)
    causes: list[Cause] = []
    if reference.get("apiGroup") not in ("", None, GROUP):
        causes.append(_unsupported("roleRef.apiGroup", reference["apiGroup"], (GROUP,)))
    if reference.get("kind") and reference["kind"] not in kinds:
        causes.append(_unsupported("roleRef.kind", reference["kind"], kinds))
    if reference.get("name") and path_segment(reference["name"]):
        causes.append(wrong("roleRef.name", reference["name"], path_segment(reference["name"])))
    for index, subject in enumerate(obj.get("subjects") or []):
        causes += _subject(subject, f"subjects[{index}]")
    return causes


def _subject(subject: Json, path: str) -> list[Cause]:
    kind = subject.get("kind") or ""
    if kind not in _SUBJECT_GROUPS:
        return [_unsupported(f"{path}.kind", kind, tuple(_SUBJECT_GROUPS))] if kind else []
    causes: list[Cause] = []
    if (subject.get("apiGroup") or "") != _SUBJECT_GROUPS[kind]:
        causes.append(_unsupported(f"{path}.apiGroup", subject.get("apiGroup"), (_SUBJECT_GROUPS[kind],)))
    if kind == "ServiceAccount" and not subject.get("namespace"):
        causes.append(required(f"{path}.namespace"))
    return causes


def binding_update(new: Json, old: Json) -> list[Cause]:
    """What may not change in a binding: what it grants."""
    causes = binding(new)
    if new.get("roleRef") != old.get("roleRef"):
        causes.append(wrong("roleRef", new.get("roleRef"), "cannot change roleRef"))
    return causes


def _unsupported(path: str, value: Any, allowed: tuple[str, ...]) -> Cause:
    shown = ", ".join(f'"{one}"' for one in allowed)
    return ("FieldValueNotSupported", path, f'Unsupported value: "{value}": supported values: {shown}')
