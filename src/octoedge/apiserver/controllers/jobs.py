"""Jobs: Pods until enough of them have succeeded.

Every Pod of a Job has a finalizer. A Pod that has ended is counted, and loses it, in the same commit: so each is
counted exactly once, whoever deletes it and whatever is killed meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from octoedge.apiserver.controllers import pods as facts
from octoedge.apiserver.controllers.controller import Controller, Key
from octoedge.apiserver.controllers.plans import conditions, failures, jobs
from octoedge.apiserver.controllers.replicasets import AT_ONCE
from octoedge.apiserver.controllers.turn import Hands, Turn, decoded
from octoedge.apiserver.writing.deletion import DeleteOptions
from octoedge.apiserver.writing.ownership import has_finalizer, is_leaving, owners_of, without_finalizer
from octoedge.runtime.clock import rfc3339

Json = dict[str, Any]

RESOURCE = "jobs.batch"
FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"


def job_controller(hands: Hands) -> Controller:
    """The module."""
    controller = Controller("job-controller", RESOURCE, hands, reconcile, release)
    return controller.attend("pods", controller.controlled())


def release(turn: Turn, key: Key) -> None:
    """The Job is gone: its Pods need not be counted any more."""
    for item in turn.items("pods", key[0]):
        if any(one.kind == "Job" and one.name == key[1] for one in owners_of(item)):
            _uncounted(turn, decoded(item))


def is_finished(job: Json) -> str:
    """Complete or Failed; empty while it works."""
    known = (job.get("status") or {}).get("conditions")
    return next((kind for kind in ("Complete", "Failed") if conditions.is_true(known, kind)), "")


def reconcile(turn: Turn, job: Json) -> None:
    """One turn of one Job."""
    pods = turn.claim("pods", job)
    suspended = bool(job["spec"].get("suspend"))
    done = _count(turn, job, pods, suspended=suspended)
    living = facts.deleted_first(pod for pod in pods if facts.is_active(pod))
    if is_leaving(job):
        _report(turn, job, pods, done, dict(job.get("status") or {}))
    elif is_finished(job):
        _report(turn, job, pods, done, dict(job.get("status") or {}))
        _expire(turn, job)
    else:
        _work(turn, job, pods, living, done)


def _count(turn: Turn, job: Json, pods: list[Json], *, suspended: bool) -> jobs.Done:
    """Count Pods that have ended or are being deleted, and take their finalizer."""
    spec, status = job["spec"], job.get("status") or {}
    succeeded, failed = int(status.get("succeeded") or 0), int(status.get("failed") or 0)
    indexes, lost = (set(jobs.lengthen(status.get(key) or "")) for key in ("completedIndexes", "failedIndexes"))
    indexed, limit, fatal = spec.get("completionMode") == "Indexed", spec.get("backoffLimitPerIndex"), ""
    for pod in pods:
        good, index = facts.phase(pod) == "Succeeded", _index(pod)
        if not _has_ended(job, pod) or not _uncounted(turn, pod):
            continue
        if good:
            succeeded += 1
            indexes |= {index} if indexed and index is not None else set()
        elif facts.is_finished(pod) or not suspended:
            meaning = failures.meaning(spec.get("podFailurePolicy"), pod)
            failed += meaning.action != "Ignore"
            fatal = fatal or (meaning.message if meaning.action == "FailJob" else "")
            ends = meaning.action == "FailIndex" or (limit is not None and _failures(pod, meaning) > limit)
            lost |= {index} if ends and index is not None and limit is not None else set()
    lost -= indexes
    return jobs.Done(len(indexes) if indexed else succeeded, failed, frozenset(indexes), frozenset(lost), fatal)


def _has_ended(job: Json, pod: Json) -> bool:
    """Whether a Pod is to be counted: it has ended, or is being deleted where that is enough to replace it."""
    return facts.is_finished(pod) or (is_leaving(pod) and not _waits_for_the_end(job))


def _waits_for_the_end(job: Json) -> bool:
    """Whether a Pod that is being deleted keeps its place until it has ended."""
    return bool(job["spec"].get("podReplacementPolicy") == "Failed")


def _failures(pod: Json, meaning: failures.Meaning) -> int:
    """How often the index of a failed Pod has failed now."""
    text = (pod["metadata"].get("annotations") or {}).get(FAILURES, "0")
    return (int(text) if text.isdecimal() and len(text) < 10 else 0) + (meaning.action != "Ignore")


def _uncounted(turn: Turn, pod: Json) -> bool:
    """Take the finalizer of a Pod; whether it had one."""
    present = turn.get("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
    if present is None or not has_finalizer(present, FINALIZER):
        return False
    turn.put("pods", without_finalizer(present, FINALIZER))
    return True


def _index(pod: Json) -> int | None:
    text = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
    return int(text) if text.isdecimal() else None


def _work(turn: Turn, job: Json, pods: list[Json], living: list[Json], done: jobs.Done) -> None:
    spec = job["spec"]
    status = dict(job.get("status") or {})
    wish = jobs.Wish(
        completions=spec.get("completions"),
        parallelism=int(spec.get("parallelism", 1)),
        backoff_limit=int(spec.get("backoffLimit", 6)),
        indexed=spec.get("completionMode") == "Indexed",
        suspended=bool(spec.get("suspend")),
        limit_per_index=spec.get("backoffLimitPerIndex"),
        max_failed_indexes=spec.get("maxFailedIndexes"),
        success=tuple(_success_rules(spec)),
    )
    _suspend(turn, job, status, suspended=wish.suspended)
    in_place = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy") == "OnFailure"
    attempts = [
        jobs.Attempt(pod["metadata"]["name"], _index(pod), facts.restarts(pod) if in_place else 0) for pod in living
    ]
    leaving = [pod for pod in pods if is_leaving(pod) and not facts.is_finished(pod)] if _waits_for_the_end(job) else []
    held = [jobs.Attempt(pod["metadata"]["name"], _index(pod)) for pod in leaving]
    step = jobs.plan(wish, done, attempts, overdue=_is_overdue(turn, job, status), held=held)
    by_name = {pod["metadata"]["name"]: pod for pod in living}
    for name in step.delete:
        turn.delete("pods", by_name[name], job)
    _make(turn, job, pods, step)
    if step.complete or step.failed[0]:
        _finish(turn, job, status, step)
    _report(turn, job, pods, done, status)


def _success_rules(spec: Json) -> Iterator[tuple[frozenset[int] | None, int | None]]:
    for rule in (spec.get("successPolicy") or {}).get("rules") or []:
        indexes = rule.get("succeededIndexes")
        yield (jobs.lengthen(indexes) if indexes is not None else None, rule.get("succeededCount"))


def _suspend(turn: Turn, job: Json, status: Json, *, suspended: bool) -> None:
    now = rfc3339(turn.now)
    known = status.get("conditions")
    if suspended and not conditions.is_true(known, "Suspended"):
        said = {"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}
        status["conditions"] = conditions.changed(known, said, now, "lastProbeTime")
        status.pop("startTime", None)
        turn.tell(job, "Suspended", "Job suspended")
    elif not suspended:
        if conditions.is_true(known, "Suspended"):
            said = {"type": "Suspended", "status": "False", "reason": "JobResumed", "message": "Job resumed"}
            status["conditions"] = conditions.changed(known, said, now, "lastProbeTime")
            turn.tell(job, "Resumed", "Job resumed")
        status.setdefault("startTime", now)


def _is_overdue(turn: Turn, job: Json, status: Json) -> bool:
    limit = job["spec"].get("activeDeadlineSeconds")
    if limit is None or not status.get("startTime"):
        return False
    left = facts.seconds(status["startTime"]) + limit - turn.now
    if left > 0:
        turn.again(left)
    return bool(left <= 0)


def _make(turn: Turn, job: Json, pods: list[Json], step: jobs.Step) -> None:
    if not step.make:
        return
    wait = _pause(turn, pods)
    if wait > 0:
        turn.again(wait)
        return
    for index in step.make[:AT_ONCE]:
        if not turn.create("pods", _pod(job, index, pods), job):
            return
    if len(step.make) > AT_ONCE:
        turn.again(0)


def _pause(turn: Turn, pods: list[Json]) -> float:
    """Seconds until the next try: longer with each failure since the last success, read off the Pods themselves."""
    last_success = max((_ended(pod) for pod in pods if facts.phase(pod) == "Succeeded"), default=0.0)
    failures = [_ended(pod) for pod in pods if facts.phase(pod) == "Failed" and _ended(pod) >= last_success]
    return max(failures) + jobs.pause(failures) - turn.now if failures else 0.0


def _ended(pod: Json) -> float:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    ends = [facts.seconds(((one.get("state") or {}).get("terminated") or {}).get("finishedAt")) for one in statuses]
    return max(ends, default=0.0) or facts.created(pod)


def _pod(job: Json, index: int | None, before: list[Json]) -> Json:
    pod = facts.from_template(job, job["spec"]["template"])
    about = pod["metadata"]
    about["finalizers"] = [*(about.get("finalizers") or []), FINALIZER]
    if index is None:
        return pod
    name = job["metadata"]["name"]
    about["generateName"] = f"{name}-{index}-"
    about["annotations"] = {**(about.get("annotations") or {}), INDEX: str(index)}
    if job["spec"].get("backoffLimitPerIndex") is not None:
        policy = job["spec"].get("podFailurePolicy")
        tries = [_failures(one, failures.meaning(policy, one)) for one in before if _index(one) == index]
        about["annotations"][FAILURES] = str(max(tries, default=0))
    about["labels"][INDEX] = str(index)
    pod["spec"].setdefault("hostname", f"{name}-{index}")
    for container in [*pod["spec"].get("initContainers", []), *pod["spec"].get("containers", [])]:
        known = container.get("env") or []
        if not any(one.get("name") == "JOB_COMPLETION_INDEX" for one in known):
            container["env"] = [*known, {"name": "JOB_COMPLETION_INDEX", "value": str(index)}]
    return pod


def _finish(turn: Turn, job: Json, status: Json, step: jobs.Step) -> None:
    now = rfc3339(turn.now)
    if step.complete:
        said = {"reason": "CompletionsReached", "message": "Reached expected number of succeeded pods"}
        if step.success_rule is not None:
            said = {"reason": "SuccessPolicy", "message": f"Matched rules at index {step.success_rule}"}
        words = ("SuccessCriteriaMet", "Complete")
        status["completionTime"] = now
        turn.tell(job, "Completed", "Job completed")
    else:
        said = {"reason": step.failed[0], "message": step.failed[1]}
        words = ("FailureTarget", "Failed")
        turn.tell(job, step.failed[0], step.failed[1], warning=True)
    for word in words:
        condition = {"type": word, "status": "True", **said}
        status["conditions"] = conditions.changed(status.get("conditions"), condition, now, "lastProbeTime")
    _expire(turn, {**job, "status": status})


def _expire(turn: Turn, job: Json) -> None:
    """Delete a finished Job when its time is over."""
    seconds = job["spec"].get("ttlSecondsAfterFinished")
    if seconds is None:
        return
    ended = conditions.find(job["status"].get("conditions"), is_finished(job)) or {}
    left = facts.seconds(ended.get("lastTransitionTime")) + seconds - turn.now
    if left > 0:
        turn.again(left)
    else:
        turn.again(0)
        if is_finished(turn.get(RESOURCE, job["metadata"]["namespace"], job["metadata"]["name"]) or {"status": {}}):
            turn.delete(RESOURCE, job, options=DeleteOptions(uid=job["metadata"]["uid"], policy="Background"))


def _report(turn: Turn, job: Json, pods: list[Json], done: jobs.Done, status: Json) -> None:
    left = [turn.get("pods", pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in pods]
    active = [pod for pod in left if pod is not None and facts.is_active(pod)]
    leaving = sum(pod is not None and is_leaving(pod) and not facts.is_finished(pod) for pod in left)
    counts: Json = {
        "active": len(active),
        "ready": sum(facts.is_ready(pod) for pod in active),
        "succeeded": done.succeeded,
        "failed": done.failed,
        "terminating": leaving,
    }
    kept = {key: value for key, value in status.items() if key not in counts}
    if job["spec"].get("completionMode") == "Indexed":
        kept["completedIndexes"] = jobs.shorten(done.indexes)
        if job["spec"].get("backoffLimitPerIndex") is not None:
            kept["failedIndexes"] = jobs.shorten(done.failed_indexes)
    counts = {key: value for key, value in counts.items() if value or key in ("ready", "terminating")}
    turn.set_status(RESOURCE, job, {**kept, **counts, "uncountedTerminatedPods": {}})
