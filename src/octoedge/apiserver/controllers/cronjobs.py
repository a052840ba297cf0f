"""CronJobs: a Job whenever the schedule says so.

A Job's name is made of the time that it is for, and it is written together with that time: it is made once, also when
clocks jump or the process is killed. After an absence the latest time that was missed is made up for, if its
startingDeadlineSeconds have not passed.
"""

from __future__ import annotations

from typing import Any

from octoedge.apiserver.controllers import pods as facts
from octoedge.apiserver.controllers.controller import Controller
from octoedge.apiserver.controllers.jobs import RESOURCE as JOBS
from octoedge.apiserver.controllers.jobs import is_finished
from octoedge.apiserver.controllers.plans import cron
from octoedge.apiserver.controllers.turn import Hands, Turn
from octoedge.apiserver.writing.deletion import DeleteOptions
from octoedge.apiserver.writing.ownership import is_leaving, reference
from octoedge.runtime.clock import rfc3339

Json = dict[str, Any]

RESOURCE = "cronjobs.batch"
LONGEST_WAIT = 60.0
"""Wall clocks jump, a node without a battery starts in 1970: look at least so often."""
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_SPANS = (3600.0, 86400.0, 32 * 86400.0, 367 * 86400.0)


def cronjob_controller(hands: Hands) -> Controller:
    """The module."""
    controller = Controller("cronjob-controller", RESOURCE, hands, reconcile)
    return controller.attend(JOBS, controller.controlled())


def reconcile(turn: Turn, owner: Json) -> None:
    """One turn of one CronJob."""
    jobs = turn.claim(JOBS, owner)
    active = [job for job in jobs if not is_finished(job)]
    status = dict(owner.get("status") or {})
    if not is_leaving(owner):
        if not owner["spec"].get("suspend"):
            active = _start(turn, owner, active, status)
        _cut(turn, owner, jobs)
    ends = [(job.get("status") or {}).get("completionTime") for job in jobs if is_finished(job) == "Complete"]
    last = max((end for end in ends if end), default=None)
    if last and last > status.get("lastSuccessfulTime", ""):
        status["lastSuccessfulTime"] = last
    status.pop("active", None)
    found = [_reference(job) for job in active if "uid" in job["metadata"]]
    turn.set_status(RESOURCE, owner, {**status, **({"active": found} if found else {})})


def _reference(job: Json) -> Json:
    about = job["metadata"]
    names = {"kind": "Job", "apiVersion": "batch/v1", "name": about["name"], "namespace": about["namespace"]}
    return {**names, "uid": about["uid"]}


def _start(turn: Turn, owner: Json, active: list[Json], status: Json) -> list[Json]:
    """Make the Job that is due; the Jobs that are active then."""
    spec, about = owner["spec"], owner["metadata"]
    schedule = cron.parse(spec["schedule"], spec.get("timeZone") or "")
    begun = facts.created(owner)
    upcoming = schedule.after(turn.now, begun)
    if upcoming is not None:
        turn.again(min(upcoming - turn.now, LONGEST_WAIT))
    due = latest(schedule, facts.seconds(status.get("lastScheduleTime")) or begun, turn.now, begun)
    if due is None:
        return active
    deadline = spec.get("startingDeadlineSeconds")
    if deadline is not None and turn.now - due > deadline:
        text = f"Missed scheduled time to start a job: {rfc3339(due)}"
        turn.tell(owner, "MissSchedule", text, warning=True)
        status["lastScheduleTime"] = rfc3339(due)
        return active
    if active and spec.get("concurrencyPolicy") == "Forbid":
        text = "Not starting job because prior execution is running and concurrency policy is Forbid"
        turn.tell(owner, "JobAlreadyActive", text)
        return active
    if active and spec.get("concurrencyPolicy") == "Replace":
        for job in active:
            turn.delete(JOBS, job, owner, DeleteOptions(uid=job["metadata"]["uid"], policy="Background"))
        active = []
    job = _job(owner, due)
    if turn.get(JOBS, about["namespace"], job["metadata"]["name"]) is None:
        if not turn.create(JOBS, job, owner):
            return active
        active = [*active, job]
    status["lastScheduleTime"] = rfc3339(due)
    return active


def latest(schedule: cron.Schedule, earliest: float, now: float, start: float) -> float | None:
    """The last time after `earliest` that is not after `now`; looks back no further than it must."""
    for span in (*_SPANS, now - earliest):
        found = schedule.after(max(earliest, now - span), start)
        if found is None or found > now:
            if now - span <= earliest:
                return None
            continue
        while (following := schedule.after(found, start)) is not None and following <= now:
            found = following
        return found
    return None


def _job(owner: Json, due: float) -> Json:
    about, template = owner["metadata"], owner["spec"].get("jobTemplate") or {}
    extra = template.get("metadata") or {}
    metadata = {
        "name": f"{about['name']}-{int(due // 60)}",
        "namespace": about["namespace"],
        "labels": dict(extra.get("labels") or {}),
        "annotations": {**(extra.get("annotations") or {}), SCHEDULED: rfc3339(due)},
        "ownerReferences": [reference(owner)],
    }
    return {"kind": "Job", "apiVersion": "batch/v1", "metadata": metadata, "spec": _copy(template.get("spec") or {})}


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def _cut(turn: Turn, owner: Json, jobs: list[Json]) -> None:
    """Remove finished Jobs beyond the limits, the oldest first."""
    spec = owner["spec"]
    limits = {
        "Complete": spec.get("successfulJobsHistoryLimit", 3),
        "Failed": spec.get("failedJobsHistoryLimit", 1),
    }
    for word, limit in limits.items():
        finished = [job for job in jobs if is_finished(job) == word]
        finished.sort(key=lambda job: ((job.get("status") or {}).get("startTime") or "", job["metadata"]["name"]))
        for job in finished[: max(0, len(finished) - limit)]:
            options = DeleteOptions(uid=job["metadata"]["uid"], policy="Background")
            turn.delete(JOBS, job, options=options)
