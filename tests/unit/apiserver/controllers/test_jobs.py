"""Jobs and CronJobs on a whole control plane in virtual time: counted once, started once, ended when they should."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from octoedge.apiserver.controllers.plans.jobs import lengthen, shorten
from octoedge.errors import ApiError
from octoedge.testing.controlplane import ControlPlane, simulate, template

Json = dict[str, Any]


def job(name: str = "work", **spec: Any) -> Json:
    body = {"template": template(name, restartPolicy="Never"), **spec}
    return {"kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": name}, "spec": body}


def cron_job(schedule: str, **spec: Any) -> Json:
    work = {"spec": {"template": template("tick", restartPolicy="Never")}}
    body = {"schedule": schedule, "jobTemplate": work, **spec}
    return {"kind": "CronJob", "apiVersion": "batch/v1", "metadata": {"name": "tick"}, "spec": body}


def ended(at: ControlPlane, name: str = "work") -> str:
    conditions = (at.get("jobs.batch", name).get("status") or {}).get("conditions") or []
    return next((f"{one['type']} {one['reason']}" for one in conditions if one["type"] in ("Complete", "Failed")), "")


def test_a_job_completes_and_keeps_its_pods_to_be_read(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        at.outcome = lambda pod: "Succeeded" if pod["status"]["phase"] == "Running" else ""
        await at.create(job(completions=5, parallelism=2))
        most = 0
        while not ended(at):
            most = max(most, len(at.living()))
            await asyncio.sleep(0.5)
        assert ended(at) == "Complete CompletionsReached"
        status = at.get("jobs.batch", "work")["status"]
        assert (status["succeeded"], status.get("failed", 0), status.get("active", 0), most) == (5, 0, 0, 2)
        assert len(at.all("pods")) == 5
        assert not any(pod["metadata"].get("finalizers") for pod in at.all("pods"))

    simulate(tmp_path, story)


def test_a_job_that_always_fails_gives_up_slowly(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        at.outcome = lambda _: "Failed"
        await at.create(job(backoffLimit=3))
        await asyncio.sleep(35)
        assert not ended(at)
        await at.until(lambda: ended(at))
        assert ended(at) == "Failed BackoffLimitExceeded"
        assert at.get("jobs.batch", "work")["status"]["failed"] == 4

    simulate(tmp_path, story)


def test_a_deadline_ends_it_and_time_removes_it(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(job(activeDeadlineSeconds=60, ttlSecondsAfterFinished=100))
        await at.until(lambda: len(at.living()) == 1)
        await at.until(lambda: ended(at) == "Failed DeadlineExceeded", 90)
        await at.until(lambda: not at.all("pods"))
        await at.until(lambda: not at.all("jobs.batch"), 120)

    simulate(tmp_path, story)


def test_every_index_succeeds_once(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        rng = random.Random(3)
        at.outcome = lambda _: rng.choice(["Succeeded", "Failed"])
        await at.create(job(completions=4, parallelism=4, completionMode="Indexed", backoffLimit=50))
        await at.until(lambda: ended(at), 4000)
        status = at.get("jobs.batch", "work")["status"]
        assert (status["completedIndexes"], status["succeeded"]) == ("0-3", 4)
        pod = at.all("pods")[0]
        index = pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
        assert {"name": "JOB_COMPLETION_INDEX", "value": index} in pod["spec"]["containers"][0]["env"]

    simulate(tmp_path, story)


def test_a_suspended_job_waits_and_goes_on(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(job(suspend=True))
        await asyncio.sleep(30)
        assert at.all("pods") == []
        await at.edit("jobs.batch", "work", lambda obj: obj["spec"].update(suspend=False))
        await at.until(lambda: len(at.living()) == 1)
        await at.edit("jobs.batch", "work", lambda obj: obj["spec"].update(suspend=True))
        await at.until(lambda: not at.all("pods"))
        assert at.get("jobs.batch", "work")["status"].get("failed", 0) == 0

    simulate(tmp_path, story)


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_a_deleted_job_takes_its_pods_along(tmp_path: Path, policy: str) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(job(parallelism=3))
        await at.until(lambda: len(at.living()) == 3)
        await at.delete("jobs.batch", "work", policy)
        await at.restart()
        await at.until(lambda: not at.all("pods") and not at.all("jobs.batch"))

    simulate(tmp_path, story)


@pytest.mark.parametrize("seed", range(3))
def test_pods_are_counted_once_whatever_is_killed_or_deleted(tmp_path: Path, seed: int) -> None:
    async def story(at: ControlPlane) -> None:
        rng = random.Random(seed)
        succeeded: set[str] = set()

        def outcome(pod: Json) -> str:
            if rng.random() < 0.5:
                return ""
            succeeded.add(pod["metadata"]["uid"])
            return "Succeeded"

        at.outcome = outcome
        await at.create(job(completions=12, parallelism=3, backoffLimit=100))
        while not ended(at):
            if at.all("pods") and rng.random() < 0.5:
                pod = rng.choice(at.all("pods"))
                await at.delete("pods", pod["metadata"]["name"])
            await asyncio.sleep(rng.random() * 20)
            if rng.random() < 0.4:
                await at.restart()
        assert at.get("jobs.batch", "work")["status"]["succeeded"] == 12 <= len(succeeded)

    simulate(tmp_path, story)


def test_a_cron_job_starts_once_a_minute_also_when_it_is_killed(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        at.outcome = lambda _: "Succeeded"
        started: set[str] = set()
        await at.create(cron_job("* * * * *", successfulJobsHistoryLimit=2))
        rng = random.Random(1)
        begun = at.clock.now()
        while at.clock.now() < begun + 600:
            await asyncio.sleep(rng.random() * 30)
            started.update(one["metadata"]["name"] for one in at.all("jobs.batch"))
            await at.restart()
        assert 9 <= len(started) <= 11
        await asyncio.sleep(10)
        assert len(at.all("jobs.batch")) <= 3
        assert at.get("cronjobs.batch", "tick")["status"]["lastSuccessfulTime"]

    simulate(tmp_path, story)


@pytest.mark.parametrize(("policy", "running"), [("Allow", 3), ("Forbid", 1), ("Replace", 1)])
def test_what_happens_while_the_last_one_still_runs(tmp_path: Path, policy: str, running: int) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(cron_job("* * * * *", concurrencyPolicy=policy))
        await asyncio.sleep(190)
        assert len(at.living()) == running
        assert len(at.get("cronjobs.batch", "tick")["status"]["active"]) == running

    simulate(tmp_path, story)


def test_after_an_absence_only_the_last_time_is_made_up_for(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        at.outcome = lambda _: "Succeeded"
        await at.create(cron_job("*/5 * * * *", successfulJobsHistoryLimit=100))
        await at.stop()
        at.epoch_shift = 86400.0
        await at.start()
        await asyncio.sleep(20)
        assert len(at.all("jobs.batch")) == 1

    simulate(tmp_path, story)


def test_intervals_of_indexes() -> None:
    assert shorten({0, 1, 2, 5, 7, 8}) == "0-2,5,7-8"
    assert lengthen("0-2,5,7-8") == {0, 1, 2, 5, 7, 8}
    assert lengthen("") == frozenset()


def exits(rule: Json) -> Json:
    return {"rules": [rule]}


CODE = {"onExitCodes": {"operator": "In", "values": [1]}}


def test_a_failure_may_end_the_job_at_once(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        at.outcome = lambda _: "Failed"
        await at.create(job(podFailurePolicy=exits({"action": "FailJob", **CODE}), backoffLimit=6))
        await at.until(lambda: ended(at), 20)
        assert ended(at) == "Failed PodFailurePolicy"
        status = at.get("jobs.batch", "work")["status"]
        message = next(one["message"] for one in status["conditions"] if one["type"] == "Failed")
        assert "failed with exit code 1 matching FailJob rule at index 0" in message
        assert status["failed"] == 1

    simulate(tmp_path, story)


def test_a_disruption_may_not_count(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        policy = exits({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]})
        await at.create(job(podFailurePolicy=policy, backoffLimit=0))
        for _ in range(3):
            await at.until(lambda: [pod["status"]["phase"] for pod in at.living()] == ["Running"])

            def disrupted(obj: Json) -> None:
                obj["status"]["conditions"].append({"type": "DisruptionTarget", "status": "True"})
                obj["status"]["phase"] = "Failed"

            await at.edit("pods", at.living()[0]["metadata"]["name"], disrupted, "status")
        await at.until(lambda: [pod["status"]["phase"] for pod in at.living()] == ["Running"])
        assert at.get("jobs.batch", "work")["status"].get("failed", 0) == 0
        assert not ended(at)

    simulate(tmp_path, story)


def test_an_index_that_fails_too_often_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        def outcome(pod: Json) -> str:
            index = pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
            return "Failed" if index == "1" else "Succeeded"

        at.outcome = outcome
        await at.create(job(completions=3, parallelism=1, completionMode="Indexed", backoffLimitPerIndex=2))
        assert at.get("jobs.batch", "work")["spec"]["backoffLimit"] == 2**31 - 1
        await asyncio.sleep(3)
        await at.restart()
        await at.until(lambda: ended(at), 2000)
        assert ended(at) == "Failed FailedIndexes"
        status = at.get("jobs.batch", "work")["status"]
        assert (status["completedIndexes"], status["failedIndexes"], status["failed"]) == ("0,2", "1", 3)

    simulate(tmp_path, story)


def test_enough_may_be_success(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        at.outcome = lambda pod: "Succeeded" if pod["spec"]["hostname"] == "work-1" else ""
        policy = {"rules": [{"succeededIndexes": "0-1", "succeededCount": 1}]}
        await at.create(job(completions=3, parallelism=3, completionMode="Indexed", successPolicy=policy))
        await at.until(lambda: ended(at), 60)
        assert ended(at) == "Complete SuccessPolicy"
        await at.until(lambda: not at.living(), 60)

    simulate(tmp_path, story)


def test_a_place_is_taken_when_who_had_it_has_ended(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(job(podReplacementPolicy="Failed", backoffLimit=9))
        await at.until(lambda: len(at.living()) == 1)
        pod = at.living()[0]
        at.cut_off = {pod["spec"]["nodeName"]}
        await at.delete("pods", pod["metadata"]["name"])
        await asyncio.sleep(100)
        assert len(at.all("pods")) == 1

        def stopped(obj: Json) -> None:
            obj["status"]["phase"] = "Failed"

        await at.edit("pods", pod["metadata"]["name"], stopped, "status")
        await at.until(lambda: len(at.living()) == 1, 60)

    simulate(tmp_path, story)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"backoffLimitPerIndex": 1}, "requires indexed completion mode"),
        ({"maxFailedIndexes": 1}, "when maxFailedIndexes is specified"),
        ({"podFailurePolicy": exits({"action": "Fly", **CODE})}, 'Unsupported value: "Fly"'),
        ({"podFailurePolicy": exits({"action": "FailIndex", **CODE})}, "requires the backoffLimitPerIndex to be set"),
        ({"podFailurePolicy": exits({"action": "FailJob"})}, "one of OnExitCodes and OnPodConditions"),
        (
            {"podFailurePolicy": exits({"action": "Count", **CODE}), "podReplacementPolicy": "TerminatingOrFailed"},
            "Failed",
        ),
    ],
)
def test_what_is_wrong_with_a_policy_is_said(tmp_path: Path, spec: Json, said: str) -> None:
    async def story(at: ControlPlane) -> None:
        with pytest.raises(ApiError, match=said):
            await at.create(job(**spec))

    simulate(tmp_path, story)
