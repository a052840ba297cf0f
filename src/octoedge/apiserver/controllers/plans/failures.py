"""What the failure of a Pod means for its Job: podFailurePolicy. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

COUNT = "Count"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a failed Pod means."""

    action: str = COUNT
    """Count, Ignore, FailIndex or FailJob."""
    message: str = ""


def meaning(policy: Json | None, pod: Json) -> Meaning:
    """By the first rule that is for this failure; without one it counts."""
    for index, rule in enumerate((policy or {}).get("rules") or []):
        why = _exited(rule.get("onExitCodes"), pod) or _has(rule.get("onPodConditions"), pod)
        if why:
            return Meaning(
                str(rule.get("action") or COUNT), f"{why} matching {rule.get('action')} rule at index {index}"
            )
    return Meaning()


def _exited(wanted: Json | None, pod: Json) -> str:
    about = pod["metadata"]
    for name, code in _exit_codes(pod) if wanted else ():
        assert wanted is not None
        if code == 0 or (wanted.get("containerName") and wanted["containerName"] != name):
            continue
        if (code in (wanted.get("values") or [])) == (wanted.get("operator") == "In"):
            return f"Container {name} for pod {about['namespace']}/{about['name']} failed with exit code {code}"
    return ""


def _exit_codes(pod: Json) -> Iterable[tuple[str, int]]:
    status = pod.get("status") or {}
    for one in [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]:
        ended = (one.get("state") or {}).get("terminated")
        if ended:
            yield str(one.get("name")), int(ended.get("exitCode") or 0)


def _has(patterns: list[Json] | None, pod: Json) -> str:
    about = pod["metadata"]
    known = {one.get("type"): one.get("status") for one in (pod.get("status") or {}).get("conditions") or []}
    for one in patterns or ():
        if known.get(one.get("type")) == (one.get("status") or "True"):
            return f"Pod {about['namespace']}/{about['name']} has condition {one['type']}"
    return ""
