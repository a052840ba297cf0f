"""LimitRanges: what a namespace gives containers that ask for nothing, and the bounds of what may be asked for.

New Pods and claims only, as in Kubernetes: what runs already stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import msgspec

from octoedge.apiserver.scheduling.placing.demand import UNIT, amounts_of, together
from octoedge.apiserver.schema.quantity import decimal, parse
from octoedge.apiserver.store.backend import View
from octoedge.apiserver.writing.metadata import Cause, wrong
from octoedge.errors import forbidden

Json = dict[str, Any]
Amounts = Mapping[str, Any]

RESOURCE = "limitranges"


def normalize(obj: Json) -> None:
    """Defaults of containers follow from the bounds where they are not given."""
    for item in (obj.get("spec") or {}).get("limits") or []:
        if item.get("type") != "Container":
            continue
        default, request = dict(item.get("default") or {}), dict(item.get("defaultRequest") or {})
        for name, amount in (item.get("max") or {}).items():
            default.setdefault(name, amount)
        for name, amount in [*default.items(), *(item.get("min") or {}).items()]:
            request.setdefault(name, amount)
        item |= {key: value for key, value in (("default", default), ("defaultRequest", request)) if value}


def check(obj: Json) -> list[Cause]:
    """What contradicts itself."""
    causes: list[Cause] = []
    for index, item in enumerate((obj.get("spec") or {}).get("limits") or []):
        low, high = item.get("min") or {}, item.get("max") or {}
        for name in low.keys() & high.keys():
            if parse(str(low[name])) > parse(str(high[name])):
                text = f"min value {low[name]} is greater than max value {high[name]}"
                causes.append(wrong(f"spec.limits[{index}].min[{name}]", low[name], text))
    return causes


def admit_pod(pod: Json, view: View) -> None:
    """Fill in what the namespace gives, then refuse what is out of bounds."""
    items = list(_items(view, pod["metadata"]["namespace"]))
    if not items:
        return
    spec = pod["spec"]
    containers = [one for group in ("containers", "initContainers") for one in spec.get(group) or []]
    for item in items:
        if item.get("type") == "Container":
            for container in containers:
                _give(container, item)
    found: list[str] = []
    for item in items:
        if item.get("type") == "Container":
            found += [text for one in containers for text in _out_of_bounds(item, *_resources(one))]
        elif item.get("type") == "Pod":
            found += _out_of_bounds(item, *of_pod(spec))
    _refuse("pods", pod, found)


def admit_claim(claim: Json, view: View) -> None:
    """Refuse a claim that is out of bounds."""
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    found: list[str] = []
    for item in _items(view, claim["metadata"]["namespace"]):
        if item.get("type") == "PersistentVolumeClaim":
            bounds = {**item, "maxLimitRequestRatio": {}}
            found += _out_of_bounds(bounds, requests, requests)
    _refuse("persistentvolumeclaims", claim, found)


def _items(view: View, namespace: str) -> Iterator[Json]:
    for item in view.items(RESOURCE, namespace):
        yield from (msgspec.json.decode(item.data).get("spec") or {}).get("limits") or []


def _give(container: Json, item: Json) -> None:
    default, request = item.get("default") or {}, item.get("defaultRequest") or {}
    if not default and not request:
        return
    resources = container.setdefault("resources", {})
    limits, requests = dict(resources.get("limits") or {}), dict(resources.get("requests") or {})
    own = set(limits)
    for name, amount in default.items():
        limits.setdefault(name, amount)
    for name, amount in request.items():
        # Who gave a limit and no request asks for as much as the limit.
        requests.setdefault(name, limits[name] if name in own else amount)
    resources |= {key: value for key, value in (("limits", limits), ("requests", requests)) if value}


def _resources(container: Json) -> tuple[Amounts, Amounts]:
    resources = container.get("resources") or {}
    return resources.get("requests") or {}, resources.get("limits") or {}


def of_pod(spec: Json) -> tuple[Amounts, Amounts]:
    """What a whole Pod asks for, and what it may use at most, as quantities; its overhead is left out."""
    requests, limits = (
        together(
            [_amounts(container, index) for container in spec.get("containers") or []],
            [(_amounts(one, index), one.get("restartPolicy") == "Always") for one in spec.get("initContainers") or []],
        )
        for index in (0, 1)
    )
    return _shown(requests), _shown(limits)


def _amounts(container: Json, index: int) -> dict[str, int]:
    return amounts_of({name: str(amount) for name, amount in _resources(container)[index].items()})


def _shown(amounts: Mapping[str, int]) -> dict[str, str]:
    return {name: decimal(Fraction(amount, UNIT)) for name, amount in amounts.items()}


def _out_of_bounds(item: Json, requests: Amounts, limits: Amounts) -> Iterator[str]:
    kind = item["type"]
    for name, least in (item.get("min") or {}).items():
        text = f"minimum {name} usage per {kind} is {least}"
        if name not in requests:
            yield f"{text}.  No request is specified"
        elif parse(str(requests[name])) < parse(str(least)):
            yield f"{text}, but request is {requests[name]}"
    for name, most in (item.get("max") or {}).items():
        text = f"maximum {name} usage per {kind} is {most}"
        if name not in limits:
            yield f"{text}.  No limit is specified"
        elif parse(str(limits[name])) > parse(str(most)):
            yield f"{text}, but limit is {limits[name]}"
    for name, ratio in (item.get("maxLimitRequestRatio") or {}).items():
        text = f"{name} max limit to request ratio per {kind} is {ratio}"
        low = parse(str(requests.get(name, "0")))
        if name not in limits or not low:
            yield f"{text}, but no request is specified or request is 0"
        elif parse(str(limits[name])) / low > parse(str(ratio)):
            yield f"{text}, but provided ratio is {float(parse(str(limits[name])) / low):f}"


def _refuse(plural: str, obj: Json, found: Iterable[str]) -> None:
    texts = list(found)
    if texts:
        name = obj["metadata"].get("name") or ""
        shown = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
        raise forbidden(f'{plural} "{name}" is forbidden: {shown}', {"name": name, "kind": plural})
