"""The rules of Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs and CronJobs: defaults and what is Invalid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from octoedge.apiserver.controllers.plans import cron
from octoedge.apiserver.schema import defaults
from octoedge.apiserver.writing import rules
from octoedge.apiserver.writing.metadata import Cause, forbidden_field, required, wrong
from octoedge.errors import ApiError
from octoedge.kube.selector import from_label_selector

Json = dict[str, Any]
Check = Callable[[Json], list[Cause]]

_NOT_NEGATIVE = "must be greater than or equal to 0"
_IMMUTABLE = "field is immutable"
_JOB_LABELS = ("controller-uid", "batch.kubernetes.io/controller-uid")
_JOB_NAME_LABELS = ("job-name", "batch.kubernetes.io/job-name")
_NO_LIMIT = 2**31 - 1
_SAFE_NAME = 52
"""A CronJob appends 11 characters to its name."""


def template_defaults(obj: Json) -> None:
    """What depends on other fields of a Pod template."""
    template = obj["spec"].setdefault("template", {})
    defaults.pod_spec(template.setdefault("spec", {}))


def deployment_defaults(obj: Json) -> None:
    """A quarter of the Pods at once."""
    template_defaults(obj)
    strategy = obj["spec"]["strategy"]
    if strategy.get("type") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")


def daemonset_defaults(obj: Json) -> None:
    """One node after the other."""
    template_defaults(obj)
    strategy = obj["spec"]["updateStrategy"]
    if strategy.get("type") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)


def statefulset_defaults(obj: Json) -> None:
    """All Pods take part in an update."""
    template_defaults(obj)
    strategy = obj["spec"]["updateStrategy"]
    if strategy.get("type") == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    for claim in obj["spec"].get("volumeClaimTemplates") or []:
        claim.setdefault("kind", "PersistentVolumeClaim")
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("status", {}).setdefault("phase", "Pending")


def job_defaults(obj: Json) -> None:
    """One Pod that succeeds once."""
    template_defaults(obj)
    spec = obj["spec"]
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    # With a limit for each index, that of the whole Job is only there for who asks for it.
    spec.setdefault("backoffLimit", 6 if spec.get("backoffLimitPerIndex") is None else _NO_LIMIT)
    spec.setdefault("podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")


def cronjob_defaults(obj: Json) -> None:
    """Those of the Job are filled in when it is made; here only its Pods'."""
    job = obj["spec"].setdefault("jobTemplate", {})
    job.setdefault("spec", {}).setdefault("template", {}).setdefault("spec", {})
    defaults.pod_spec(job["spec"]["template"]["spec"])


def prepare_job(obj: Json) -> None:
    """The selector of a Job is made of its uid, unless it says that it brings its own."""
    spec, about = obj["spec"], obj["metadata"]
    if spec.get("manualSelector"):
        return
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    for key in _JOB_LABELS:
        labels[key] = about["uid"]
    for key in _JOB_NAME_LABELS:
        labels[key] = about.get("name") or ""
    spec["selector"] = {"matchLabels": {_JOB_LABELS[1]: about["uid"]}}


def _template(template: Json, path: str, policies: tuple[str, ...]) -> list[Cause]:
    """The rules of a Pod, told of a template."""
    spec = template.get("spec") or {}
    causes = [(reason, f"{path}.{field}", text) for reason, field, text in rules.pod({"spec": spec})]
    policy = spec.get("restartPolicy") or "Always"
    if policy not in policies:
        shown = ", ".join(f'"{one}"' for one in sorted(policies))
        text = f'Unsupported value: "{policy}": supported values: {shown}'
        causes.append(("FieldValueNotSupported", f"{path}.spec.restartPolicy", text))
    return causes


def _with_claims(template: Json, claims: list[Json]) -> Json:
    """The template with the volumes that a StatefulSet's claims will be: containers mount them by name."""
    if not claims:
        return template
    spec = template.get("spec") or {}
    named = {(claim.get("metadata") or {}).get("name"): claim for claim in claims}
    kept = [volume for volume in spec.get("volumes") or [] if volume.get("name") not in named]
    made = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in named]
    return {**template, "spec": {**spec, "volumes": [*kept, *made]}}


def _selector(obj: Json, what: str) -> list[Cause]:
    """The selector chooses something, and the template is among it."""
    spec = obj["spec"]
    selector = spec.get("selector") or {}
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [wrong("spec.selector", "{}", f"empty selector is invalid for {what}")] if "selector" in spec else []
    try:
        chosen = from_label_selector(selector)
    except ApiError as error:
        return [wrong("spec.selector", str(selector), error.message)]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if chosen.matches(labels):
        return []
    shown = "{" + ",".join(f'"{key}":"{value}"' for key, value in sorted(labels.items())) + "}"
    text = f"Invalid value: {shown}: `selector` does not match template `labels`"
    return [("FieldValueInvalid", "spec.template.metadata.labels", text)]


def _not_negative(spec: Json, *fields: str) -> list[Cause]:
    return [wrong(f"spec.{field}", spec[field], _NOT_NEGATIVE) for field in fields if (spec.get(field) or 0) < 0]


def _share(value: Any, path: str) -> list[Cause]:
    """A number of Pods or a percentage of them."""
    if isinstance(value, str):
        if not (value.endswith("%") and value[:-1].isdecimal() and len(value) < 8):
            return [wrong(path, value, "a valid percent string must be a numeric string followed by an ending '%'")]
        too_much = int(value[:-1]) > 100 and not path.endswith("maxSurge")
        return [wrong(path, value, "must not exceed 100%")] if too_much else []
    return [wrong(path, value, _NOT_NEGATIVE)] if isinstance(value, int) and value < 0 else []


def _replicated(obj: Json, what: str) -> list[Cause]:
    spec = obj["spec"]
    causes = _not_negative(spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    template = _with_claims(spec.get("template") or {}, spec.get("volumeClaimTemplates") or [])
    return causes + _selector(obj, what) + _template(template, "spec.template", ("Always",))


def deployment(obj: Json) -> list[Cause]:
    """What is wrong with a Deployment."""
    spec, causes = obj["spec"], _replicated(obj, "deployment")
    strategy = spec.get("strategy") or {}
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "Recreate" and rolling:
        text = "may not be specified when strategy `type` is 'Recreate'"
        causes.append(forbidden_field("spec.strategy.rollingUpdate", text))
    elif kind not in ("Recreate", "RollingUpdate"):
        text = f'Unsupported value: "{kind}": supported values: "Recreate", "RollingUpdate"'
        causes.append(("FieldValueNotSupported", "spec.strategy.type", text))
    path = "spec.strategy.rollingUpdate"
    for field in ("maxSurge", "maxUnavailable"):
        causes += _share((rolling or {}).get(field), f"{path}.{field}")
    if rolling and _is_nothing(rolling.get("maxSurge")) and _is_nothing(rolling.get("maxUnavailable")):
        causes.append(wrong(f"{path}.maxUnavailable", rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0"))
    if (spec.get("progressDeadlineSeconds") or 600) <= (spec.get("minReadySeconds") or 0):
        text = "must be greater than minReadySeconds"
        causes.append(wrong("spec.progressDeadlineSeconds", spec.get("progressDeadlineSeconds"), text))
    return causes


def _is_nothing(value: Any) -> bool:
    return value in (0, "0%", None)


def replicaset(obj: Json) -> list[Cause]:
    """What is wrong with a ReplicaSet."""
    return _replicated(obj, "ReplicaSet")


def statefulset(obj: Json) -> list[Cause]:
    """What is wrong with a StatefulSet."""
    causes = _replicated(obj, "statefulset")
    for field, allowed in (("podManagementPolicy", ("OrderedReady", "Parallel")),):
        if obj["spec"].get(field) not in allowed:
            text = f"must be one of {', '.join(allowed)}"
            causes.append(wrong(f"spec.{field}", obj["spec"].get(field), text))
    for field, value in (obj["spec"].get("persistentVolumeClaimRetentionPolicy") or {}).items():
        if value not in ("Retain", "Delete"):
            text = f'Unsupported value: "{value}": supported values: "Delete", "Retain"'
            causes.append(("FieldValueNotSupported", f"spec.persistentVolumeClaimRetentionPolicy.{field}", text))
    return causes + _strategy(obj)


def _strategy(obj: Json) -> list[Cause]:
    kind = (obj["spec"].get("updateStrategy") or {}).get("type")
    if kind in ("RollingUpdate", "OnDelete"):
        return []
    text = f'Unsupported value: "{kind}": supported values: "OnDelete", "RollingUpdate"'
    return [("FieldValueNotSupported", "spec.updateStrategy.type", text)]


def daemonset(obj: Json) -> list[Cause]:
    """What is wrong with a DaemonSet."""
    rolling = (obj["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    causes = _replicated(obj, "daemonset") + _strategy(obj)
    path = "spec.updateStrategy.rollingUpdate"
    for field in ("maxSurge", "maxUnavailable"):
        causes += _share(rolling.get(field), f"{path}.{field}")
    surges, may_miss = (not _is_nothing(rolling.get(field)) for field in ("maxSurge", "maxUnavailable"))
    if rolling and surges and may_miss:
        text = "may not be set when maxUnavailable is non-zero"
        causes.append(wrong(f"{path}.maxSurge", rolling["maxSurge"], text))
    elif rolling and not surges and not may_miss:
        causes.append(required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return causes


def job(obj: Json) -> list[Cause]:
    """What is wrong with a Job."""
    return _job_spec(obj["spec"], "spec", obj)


def _job_spec(spec: Json, path: str, obj: Json | None = None) -> list[Cause]:
    fields = ("completions", "parallelism", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished")
    causes = [wrong(f"{path}.{field}", spec[field], _NOT_NEGATIVE) for field in fields if (spec.get(field) or 0) < 0]
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        causes.append(required(f"{path}.completions", "when completion mode is Indexed"))
    causes += _failure_policies(spec, path)
    if obj is not None:
        causes += _selector(obj, "job")
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    if policy == "Always":
        text = 'Required value: valid values: "OnFailure", "Never"'
        causes.append(("FieldValueRequired", f"{path}.template.spec.restartPolicy", text))
    return causes + _template(spec.get("template") or {}, f"{path}.template", ("Always", "OnFailure", "Never"))


_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")


def _failure_policies(spec: Json, path: str) -> list[Cause]:
    """The rules about what a failure means and when a Job has succeeded before all of it is done."""
    indexed = spec.get("completionMode") == "Indexed"
    causes = [
        wrong(f"{path}.{field}", "", "requires indexed completion mode")
        for field in ("backoffLimitPerIndex", "successPolicy")
        if spec.get(field) is not None and not indexed
    ]
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        causes.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    causes += _not_negative_at(spec, path, "backoffLimitPerIndex", "maxFailedIndexes")
    restart = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    if spec.get("podFailurePolicy") is not None:
        if restart != "Never":
            text = 'only "Never" is supported when podFailurePolicy is specified'
            causes.append(wrong(f"{path}.template.spec.restartPolicy", restart, text))
        if spec.get("podReplacementPolicy") not in (None, "Failed"):
            text = f'Unsupported value: "{spec["podReplacementPolicy"]}": supported values: "Failed"'
            causes.append(("FieldValueNotSupported", f"{path}.podReplacementPolicy", text))
    for index, rule in enumerate((spec.get("podFailurePolicy") or {}).get("rules") or []):
        causes += _failure_rule(rule, f"{path}.podFailurePolicy.rules[{index}]", spec)
    for index, rule in enumerate((spec.get("successPolicy") or {}).get("rules") or []):
        if rule.get("succeededIndexes") is None and rule.get("succeededCount") is None:
            text = "at least one of succeededCount or succeededIndexes must be specified"
            causes.append(required(f"{path}.successPolicy.rules[{index}]", text))
    return causes


def _failure_rule(rule: Json, path: str, spec: Json) -> list[Cause]:
    causes = []
    if rule.get("action") not in _ACTIONS:
        shown = ", ".join(f'"{one}"' for one in _ACTIONS)
        text = f'Unsupported value: "{rule.get("action")}": supported values: {shown}'
        causes.append(("FieldValueNotSupported", f"{path}.action", text))
    if rule.get("action") == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        text = "requires the backoffLimitPerIndex to be set"
        causes.append(wrong(f"{path}.action", "FailIndex", text))
    codes, patterns = rule.get("onExitCodes"), rule.get("onPodConditions")
    if bool(codes) == bool(patterns):
        text = "specifying one of OnExitCodes and OnPodConditions is required, and not both"
        causes.append(wrong(path, "", text))
    if codes and codes.get("operator") not in ("In", "NotIn"):
        text = f'Unsupported value: "{codes.get("operator")}": supported values: "In", "NotIn"'
        causes.append(("FieldValueNotSupported", f"{path}.onExitCodes.operator", text))
    if codes and codes.get("operator") == "In" and 0 in (codes.get("values") or []):
        causes.append(wrong(f"{path}.onExitCodes.values", 0, "must not be 0 for the In operator"))
    return causes


def _not_negative_at(spec: Json, path: str, *fields: str) -> list[Cause]:
    return [wrong(f"{path}.{field}", spec[field], _NOT_NEGATIVE) for field in fields if (spec.get(field) or 0) < 0]


def cronjob(obj: Json) -> list[Cause]:
    """What is wrong with a CronJob."""
    spec, causes = obj["spec"], []
    name = obj["metadata"].get("name") or ""
    if len(name) > _SAFE_NAME:
        causes.append(wrong("metadata.name", name, f"must be no more than {_SAFE_NAME} characters"))
    try:
        cron.parse(spec.get("schedule") or "", spec.get("timeZone") or "")
    except cron.BadSchedule as error:
        field, value = ("timeZone", spec.get("timeZone")) if error.is_zone else ("schedule", spec.get("schedule"))
        causes.append(wrong(f"spec.{field}", value, str(error)))
    if spec.get("concurrencyPolicy") not in ("Allow", "Forbid", "Replace"):
        text = f'Unsupported value: "{spec.get("concurrencyPolicy")}": supported values: "Allow", "Forbid", "Replace"'
        causes.append(("FieldValueNotSupported", "spec.concurrencyPolicy", text))
    causes += _not_negative(spec, "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    return causes + _job_spec((spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec")


def unchangeable(check: Check, *fields: str) -> Callable[[Json, Json], list[Cause]]:
    """The rules of an update: those of the new object, and fields of the spec that may not change."""

    def check_update(new: Json, old: Json) -> list[Cause]:
        before, after = old.get("spec") or {}, new.get("spec") or {}
        changed = [field for field in fields if before.get(field) != after.get(field)]
        return [*check(new), *(wrong(f"spec.{field}", _shown(after.get(field)), _IMMUTABLE) for field in changed)]

    return check_update


_STATEFUL_MAY_CHANGE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip


def statefulset_update(new: Json, old: Json) -> list[Cause]:
    """Most of a StatefulSet stays as it was made."""
    before, after = dict(old["spec"]), dict(new["spec"])
    for field in _STATEFUL_MAY_CHANGE:
        before.pop(field, None)
        after.pop(field, None)
    causes = statefulset(new)
    if before != after:
        text = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        )
        causes.append(forbidden_field("spec", text))
    return causes


def job_update(new: Json, old: Json) -> list[Cause]:
    """A Job's work stays the same; how much of it at once may change, and while suspended where it runs."""
    fields = ["selector", "completionMode", "manualSelector", "podFailurePolicy", "successPolicy"]
    fields.append("backoffLimitPerIndex")
    if not (old["spec"].get("suspend") and not (old.get("status") or {}).get("startTime")):
        fields.append("template")
    if new["spec"].get("completionMode") != "Indexed":
        fields.append("completions")
    return unchangeable(job, *fields)(new, old)


def _shown(value: Any) -> Any:
    return value if isinstance(value, str | int) else str(value)[:200]
