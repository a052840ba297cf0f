"""The names of custom kinds within a group: accepted when nobody else has them, and the conditions that say so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from octoedge.apiserver.crd.invariants import unsupported
from octoedge.apiserver.crd.structural import SchemaReader

Json = dict[str, Any]

MAX_WARNINGS = 10


@dataclass(slots=True)
class Taken:
    """The names that others of the group have."""

    resources: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)

    def add(self, names: Json) -> None:
        """Take the accepted names of a definition."""
        self.resources.update(filter(None, (names.get("plural"), names.get("singular"), *_short(names))))
        self.kinds.update(filter(None, (names.get("kind"), names.get("listKind"))))


def taken_by(definitions: Iterable[Json], group: str, but: str) -> Taken:
    """What the definitions of a group have taken, except the one named `but`."""
    taken = Taken()
    for one in definitions:
        if one["metadata"].get("name") != but and one["spec"].get("group") == group:
            taken.add((one.get("status") or {}).get("acceptedNames") or {})
    return taken


class BuiltIn(Protocol):
    """What of a kind of this server's own its names are taken from."""

    @property
    def group(self) -> str: ...

    @property
    def plural(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def short_names(self) -> tuple[str, ...]: ...


def as_definitions(kinds: Iterable[BuiltIn]) -> list[Json]:
    """Kinds that come without a definition, as if they had one: their names are taken."""
    return [
        {
            "metadata": {"name": ""},
            "spec": {"group": kind.group},
            "status": {
                "acceptedNames": {"plural": kind.plural, "shortNames": list(kind.short_names), "kind": kind.kind}
            },
        }
        for kind in kinds
    ]


def settled(definition: Json, taken: Taken, now: str) -> Json:
    """The status of a definition: the names that it gets, and its conditions."""
    status = dict(definition.get("status") or {})
    wanted, before = definition["spec"]["names"], status.get("acceptedNames") or {}
    accepted = dict(before)
    trouble: list[tuple[str, str]] = []
    for key, reason, used in (
        ("plural", "PluralConflict", taken.resources),
        ("singular", "SingularConflict", taken.resources),
        ("shortNames", "ShortNamesConflict", taken.resources),
        ("kind", "KindConflict", taken.kinds),
        ("listKind", "ListKindConflict", taken.kinds),
    ):
        value = wanted.get(key)
        clash = [name for name in (value if isinstance(value, list) else [value]) if name in used]
        if not clash:
            _put(accepted, key, value)
        trouble += [(reason, f'"{name}" is already in use') for name in clash]
    if not trouble:
        _put(accepted, "categories", wanted.get("categories"))
    status["acceptedNames"] = accepted
    status["conditions"] = _conditions(definition, status.get("conditions") or [], trouble, now)
    return status


def _conditions(definition: Json, before: list[Json], trouble: list[tuple[str, str]], now: str) -> list[Json]:
    made = [_names_accepted(trouble), _established(before, trouble)]
    if definition["metadata"].get("deletionTimestamp"):
        made.append(("Terminating", "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress"))
    left_out = warnings(definition)
    if left_out:
        made.append(("RulesEvaluated", "False", "NotSupported", "; ".join(left_out)[:4096]))
    known = {one.get("type"): one for one in before}
    return [_condition(known.get(row[0]), row, now) for row in made]


def _names_accepted(trouble: list[tuple[str, str]]) -> tuple[str, str, str, str]:
    if trouble:
        return ("NamesAccepted", "False", *trouble[-1])  # as Kubernetes: the last one stands
    return ("NamesAccepted", "True", "NoConflicts", "no conflicts found")


def _established(before: list[Json], trouble: list[tuple[str, str]]) -> tuple[str, str, str, str]:
    # What was served once goes on being served.
    if not trouble or any(one.get("type") == "Established" and one.get("status") == "True" for one in before):
        return ("Established", "True", "InitialNamesAccepted", "the initial names have been accepted")
    return ("Established", "False", "NotAccepted", "not all names are accepted")


def _condition(before: Json | None, row: tuple[str, str, str, str], now: str) -> Json:
    kind, status, reason, message = row
    same = before is not None and before.get("status") == status
    since = (before or {}).get("lastTransitionTime") if same else now
    return {"type": kind, "status": status, "lastTransitionTime": since or now, "reason": reason, "message": message}


def is_established(definition: Json) -> bool:
    """Whether its kinds are served."""
    conditions = (definition.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions)


def warnings(definition: Json) -> list[str]:
    """What its author should know: which of its rules are not evaluated."""
    found = []
    for row in definition["spec"].get("versions") or []:
        schema = (row.get("schema") or {}).get("openAPIV3Schema")
        if isinstance(schema, dict) and _has_rules(schema):
            found += [f"{row.get('name')}: {text}" for text in unsupported(SchemaReader().read(schema, ""))]
    return found[:MAX_WARNINGS]


def _has_rules(value: Any) -> bool:
    """Whether there are CEL rules somewhere."""
    if isinstance(value, dict):
        return "x-kubernetes-validations" in value or any(map(_has_rules, value.values()))
    return isinstance(value, list) and any(map(_has_rules, value))


def _put(names: Json, key: str, value: Any) -> None:
    if value:
        names[key] = value
    else:
        names.pop(key, None)


def _short(names: Json) -> list[str]:
    return names.get("shortNames") or []
