"""Makes the runtime match the plan, pod by pod: observe, think, act, tell, until there is nothing left to do.

    KeyedQueue(uid) ──► observe ──► plan ──► actions ──► again      one pod at a time in order, many pods at once

A worker that waits long (a pull, a container's grace) is interrupted when the pod is told to go, or to go faster; it
then observes anew. Nothing here remembers what it did: the runtime does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence

import msgspec

from octoedge.api.core import Pod
from octoedge.edge.edged import deadgc, plan
from octoedge.edge.edged.containers import RETRY, ActionFailed
from octoedge.edge.edged.door import Door
from octoedge.edge.edged.downward import Facts
from octoedge.edge.edged.observed import Failure, History, PodSeen, Waiting
from octoedge.edge.edged.pods import Pods
from octoedge.edge.edged.probes import Prober
from octoedge.edge.edged.rounds import Parts, Record, Round, kept_failure, logged_attempts, started
from octoedge.edge.edged.volumes import VolumeFailed
from octoedge.errors import ApiError, DeadlineError, OctoedgeError, OfflineError, RuntimeUnavailable, StoreError
from octoedge.protocol.resource import Resource
from octoedge.runtime.keyed import KeyedQueue
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

_WORKERS = 256
"""Pods that are worked at once: most only wait; what loads the runtime is bounded in `containers`."""
_MOST_STEPS = 50
_MAY_BE_CURED = ("CreateContainerConfigError", "ContainerCreating")
"""Waits that a ConfigMap or Secret may end."""
_RUNTIME_AWAY = 1.0
_ORPHAN_AGAIN = 30.0

_STARTS = (plan.CreateSandbox, plan.StartContainer)


class Sync:
    """Workers for all pods."""

    def __init__(self, pods: Pods, parts: Parts) -> None:
        self._pods = pods
        self._parts = parts
        self._records: dict[str, Record] = {}
        self._queue: KeyedQueue[str] = KeyedQueue(self._work, workers=_WORKERS, name="pod")
        self._said = SaidOnce(log)
        self.door = Door(pods, parts, self._records, self._queue.add_later)
        self.prober = Prober(parts.runtime, self._queue.add, parts.recorder)
        self._actions: dict[type[plan.Action], Callable[[Round, plan.Action], Awaitable[None]]] = {
            plan.CreateSandbox: self._create_sandbox,
            plan.StartContainer: self._start_container,
            plan.RemoveContainer: self._remove_container,
            plan.StopSandbox: self._stop_sandbox,
            plan.RemoveSandbox: self._remove_sandbox,
            plan.Finish: self._finish,
        }

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(), name="pods")
            group.create_task(self.prober.run(), name="probes")

    def wake(self, uid: str, *, refresh: bool = False) -> None:
        """Look at a pod; `refresh`: something that its volumes or environment show has changed."""
        record = self._records.setdefault(uid, Record())
        if refresh:
            record.refresh = True
            for name, waits in list(record.history.waiting.items()):
                if waits.reason in _MAY_BE_CURED:
                    del record.history.waiting[name]
        self._interrupt_if_ending(uid, record)
        self._queue.add(uid)

    def active(self) -> Iterator[Pod]:
        """Pods that have a place here and have not ended."""
        return self.door.active()

    def fail(self, uid: str, reason: str, message: str, grace: float | None) -> None:
        """End a pod for good; `grace`: seconds that its containers get, None: the pod's own."""
        record = self._records.setdefault(uid, Record())
        self.door.end(uid, record, Failure(reason, message, grace, disruption="TerminationByKubelet"))
        record.interrupt()
        self._queue.add(uid)

    def runs(self, uid: str) -> bool:
        """Whether a container of the pod is alive."""
        seen = self._parts.observer.pods.get(uid)
        return seen is not None and any(container.alive for container in seen.containers)

    async def idle(self) -> None:
        """Return when no pod is being worked."""
        await self._queue.idle()

    def history(self, uid: str) -> History | None:
        """What is remembered of a pod."""
        record = self._records.get(uid)
        return record.history if record is not None else None

    def _interrupt_if_ending(self, uid: str, record: Record) -> None:
        """End a long wait when the pod is now to go, or to go faster than it was."""
        desired = self._pods.get(uid)
        meta = desired.pod.metadata if desired is not None else None
        ending = meta is None or meta.deletion_timestamp is not None
        wish = (ending, meta.deletion_grace_period_seconds if meta is not None else None)
        if wish != record.wish and ending:
            record.interrupt()
        record.wish = wish

    async def _work(self, uid: str) -> None:
        try:
            await self._converge(uid)
        except RuntimeUnavailable as error:
            self._said.trouble("container runtime", str(error))
            self._queue.add_later(uid, _RUNTIME_AWAY)
        except (OctoedgeError, OSError, ValueError) as error:
            self._said.trouble(f"pod {uid}", f"{error}; tried again in {RETRY:.0f} s")
            self._queue.add_later(uid, RETRY)
        except Exception as error:
            # What no one foresaw of one pod must not end the others.
            self._said.trouble(f"pod {uid}", f"{type(error).__name__}: {error}; tried again in {RETRY:.0f} s")
            log.debug("pod %s cannot be worked", uid, exc_info=True)
            self._queue.add_later(uid, RETRY)
        else:
            self._said.over("container runtime", "answers again")
            self._said.over(f"pod {uid}", "is well again")

    async def _converge(self, uid: str) -> None:
        record = self._records.setdefault(uid, Record())
        for _ in range(_MOST_STEPS):
            round_ = await self._observe(uid, record)
            if round_ is None:
                return
            if not await self.door.let_in(round_):
                return
            thought = plan.plan(round_.pod, round_.seen, record.history, _now())
            if thought.actions and all(isinstance(action, _STARTS) for action in thought.actions):
                await self._tell_and_act(round_, thought.actions)
                continue
            if round_.pod is not None:
                await self._tell(round_, round_.pod)
            if not thought.actions:
                self._sleep(uid, thought.wake_at)
                return
            await self._act(round_, thought.actions)
        self._queue.add_later(uid, RETRY)

    async def _tell_and_act(self, round_: Round, actions: Sequence[plan.Action]) -> None:
        """Start something while the report goes to disk: what is begun is found again in the runtime anyhow."""
        failed: Exception | None = None
        async with asyncio.TaskGroup() as group:
            if round_.pod is not None:
                group.create_task(self._tell(round_, round_.pod), name=f"report {round_.uid}")
                await asyncio.sleep(0)  # what is told is what was seen, not what the start makes of it
            try:
                await self._act(round_, actions)
            except Exception as error:
                failed = error  # raised below, as it is: in here it would cut the report off, and come out in a group
        if failed is not None:
            raise failed

    async def _tell(self, round_: Round, pod: Pod) -> None:
        """Report the pod's status; a disk that takes no report must not keep the pod from running."""
        try:
            await self._parts.reporter.pod(pod, round_.seen, round_.record.history)
        except StoreError as error:
            self._said.trouble("reports of pods", f"{error}; tried again in {RETRY:.0f} s")
            self._queue.add_later(round_.uid, RETRY)
        else:
            self._said.over("reports of pods", "are stored again")

    async def _observe(self, uid: str, record: Record) -> Round | None:
        """All that is needed to think about a pod; None when there is nothing to do."""
        seen = await self._parts.observer.look_at(uid)
        desired = self._pods.get(uid)
        if desired is None and not await self._may_end(uid, seen):
            return None
        if desired is not None and record.finished and not seen.sandboxes:
            return None
        pod = self._parts.reporter.basis(desired.pod) if desired is not None else None
        refused, debuggers = (desired.refused, desired.refused_debuggers) if desired is not None else ("", {})
        round_ = Round(uid, pod, refused, seen, record, debuggers)
        self._note(round_)
        due = record.refresh or self._parts.tokens.due(uid)
        if due and pod is not None and pod.metadata.deletion_timestamp is None and seen.sandboxes:
            record.refresh = False
            await self._refresh(round_)
        return round_

    async def _may_end(self, uid: str, seen: PodSeen) -> bool:
        """Whether a pod that is not stored may be taken down: it was told to go, or the cloud does not know it.

        What is merely not in the store proves nothing: the store may be new.
        """
        if self._pods.ended(uid):
            return True
        if not seen.sandboxes and not seen.containers:
            self._drop(uid)
            return False
        if self._parts.metadata.rebuilt or not self._parts.metadata.online:
            self._queue.add_later(uid, _ORPHAN_AGAIN)
            return False
        try:
            obj = await self._parts.metadata.get(Resource(seen.namespace, "pod", seen.name))
        except ApiError as error:
            gone = error.code == 404
        except (OfflineError, DeadlineError):
            gone = False
        else:
            gone = msgspec.json.decode(obj).get("metadata", {}).get("uid") != uid
        if gone:
            log.info("pod %s/%s (%s) is unknown to the cloud: it is taken down", seen.namespace, seen.name, uid)
            self._pods.end(uid)
        else:
            self._queue.add_later(uid, _ORPHAN_AGAIN)
        return gone

    def _note(self, round_: Round) -> None:
        """Bring memory up to what was seen."""
        history, seen, now = round_.record.history, round_.seen, _now()
        if not round_.record.recalled:
            round_.record.recalled = True
            history.failure = history.failure or kept_failure(self._parts.layout, round_.uid)
        self._note_dead(round_)
        history.start_time = history.start_time or started(round_.pod) or self._parts.clock.now()
        if round_.refused and round_.pod is not None and history.refused != round_.refused:
            self._parts.recorder.pod(round_.pod, "Warning", "Unsupported", round_.refused)
        history.refused = round_.refused
        history.refused_debuggers = round_.refused_debuggers
        history.forget_but(seen)
        round_.record.hooked &= {container.id for container in seen.containers}
        plan.note_exits(history, seen, self._parts.clock.now(), now)
        pod = round_.pod
        if pod is None or pod.metadata.deletion_timestamp is not None:
            history.stopping_since = now if history.stopping_since is None else history.stopping_since
        else:
            self._check_deadline(pod, round_.record)
            if not history.logged_attempts and not seen.containers:
                history.logged_attempts = logged_attempts(self._parts.layout, pod)
        self.prober.track(round_.uid, pod, seen, history)

    def _note_dead(self, round_: Round) -> None:
        parts, history = self._parts, round_.record.history
        history.dead_kept = deadgc.kept(parts.dead, parts.observer.pods.values())
        waits = deadgc.young(parts.dead, round_.seen, parts.clock.now())
        if waits:
            self._queue.add_later(round_.uid, min(waits.values()) + 1.0)  # Not a moment too early.
        history.young = frozenset(waits)

    def _check_deadline(self, pod: Pod, record: Record) -> None:
        limit, history = pod.spec.active_deadline_seconds, record.history
        if limit is None or history.failure is not None or pod.status.phase in ("Succeeded", "Failed"):
            return
        left = history.start_time + limit - self._parts.clock.now()
        if left <= 0:
            text = "Pod was active on the node longer than the specified deadline"
            self.door.end(pod.metadata.uid, record, Failure("DeadlineExceeded", text))
        else:
            self._queue.add_later(pod.metadata.uid, left)

    async def _refresh(self, round_: Round) -> None:
        assert round_.pod is not None
        try:
            await self._parts.volumes.refresh(round_.pod, self._facts(round_))
        except VolumeFailed as error:
            # What is mounted stays as it was: old content is better than none.
            self._parts.recorder.pod(round_.pod, "Warning", "FailedMount", str(error))
            self._queue.add_later(round_.uid, RETRY)
            round_.record.refresh = True

    async def _act(self, round_: Round, actions: Sequence[plan.Action]) -> None:
        stops = [action for action in actions if isinstance(action, plan.StopContainer)]
        if stops:
            await self._stop_containers(round_, stops)
            return
        for action in actions:
            await self._actions[type(action)](round_, action)

    async def _stop_containers(self, round_: Round, stops: list[plan.StopContainer]) -> None:
        async def stop(action: plan.StopContainer) -> None:
            container = action.container
            hook = container.id not in round_.record.hooked
            round_.record.hooked.add(container.id)
            message = action.message if hook else ""
            await self._parts.containers.stop(round_.pod, container, action.grace, message, hook=hook)

        async def all_of_them() -> None:
            results = await asyncio.gather(*(stop(action) for action in stops), return_exceptions=True)
            for error in results:
                if isinstance(error, BaseException):
                    raise error

        await self._interruptible(round_, all_of_them())

    async def _create_sandbox(self, round_: Round, action: plan.Action) -> None:
        assert isinstance(action, plan.CreateSandbox)
        assert round_.pod is not None
        round_.record.refresh = False
        create = self._parts.containers.create_sandbox(round_.pod, action.attempt, self._facts(round_))
        await self._attempt(round_, "", create)

    async def _start_container(self, round_: Round, action: plan.Action) -> None:
        assert isinstance(action, plan.StartContainer)
        assert round_.pod is not None
        sandbox = next((s for s in round_.seen.sandboxes if s.id == action.sandbox_id), None)
        start = self._parts.containers.start(
            round_.pod, action, self._facts(round_), sandbox.attempt if sandbox is not None else 0, round_.seen
        )
        await self._attempt(round_, action.container.name, start)

    async def _attempt(self, round_: Round, name: str, effect: Awaitable[None]) -> None:
        """Run an effect; a failure becomes what the container (or the sandbox, "") waits for."""
        waiting = round_.record.history.waiting
        try:
            await self._interruptible(round_, effect)
        except ActionFailed as error:
            waiting[name] = Waiting(error.reason, str(error), error.not_before, RETRY)
        else:
            waiting.pop(name, None)

    async def _interruptible(self, round_: Round, effect: Awaitable[None]) -> None:
        record = round_.record
        scope = asyncio.timeout(None)
        try:
            async with scope:
                record.scope = scope
                await effect
        except TimeoutError:
            if not scope.expired():
                raise
        finally:
            record.scope = None

    async def _remove_container(self, round_: Round, action: plan.Action) -> None:
        assert isinstance(action, plan.RemoveContainer)
        await self._parts.runtime.remove_container(action.container_id)
        gone = next((one for one in round_.seen.containers if one.id == action.container_id), None)
        if gone is not None:
            seen = round_.seen
            self._parts.layout.remove_traces(seen.namespace, seen.name, seen.uid, gone.name, gone.attempt)

    async def _stop_sandbox(self, _round: Round, action: plan.Action) -> None:
        assert isinstance(action, plan.StopSandbox)
        await self._parts.runtime.stop_sandbox(action.sandbox_id)

    async def _remove_sandbox(self, _round: Round, action: plan.Action) -> None:
        assert isinstance(action, plan.RemoveSandbox)
        await self._parts.runtime.stop_sandbox(action.sandbox_id)
        await self._parts.runtime.remove_sandbox(action.sandbox_id)

    async def _finish(self, round_: Round, _action: plan.Action) -> None:
        """The pod's end: nothing on the host, then the cloud hears of it."""
        pod, seen = round_.pod, round_.seen
        namespace = pod.metadata.namespace if pod is not None else seen.namespace
        name = pod.metadata.name if pod is not None else seen.name
        layout = self._parts.layout
        named = [layout.log_directory(namespace, name, round_.uid)] if namespace and name else []
        await self._parts.containers.clean_up(round_.uid, named)
        self.prober.forget(round_.uid)
        if pod is not None:
            await self._parts.metadata.delete_pod(Resource(namespace, "pod", name), round_.uid)
            round_.record.finished = True
            return
        if namespace and name:
            await self._parts.metadata.forget_pod(Resource(namespace, "pod", name), round_.uid)
        self._pods.forget(round_.uid)
        self._drop(round_.uid)

    def _drop(self, uid: str) -> None:
        self._records.pop(uid, None)
        self._parts.reporter.forget(uid)
        self.prober.forget(uid)

    def _facts(self, round_: Round) -> Facts:
        node = self._parts.facts()
        pod = round_.pod
        if pod is not None and pod.spec.host_network:
            return msgspec.structs.replace(node, pod_ips=node.host_ips)
        ips = round_.seen.sandboxes[0].ips if round_.seen.sandboxes else ()
        return msgspec.structs.replace(node, pod_ips=ips)

    def _sleep(self, uid: str, at: float | None) -> None:
        """Look again when the plan says so, and when a token is to be renewed."""
        if at is not None:
            self._queue.add_later(uid, at - _now())
        renew = self._parts.tokens.renew_in(uid)
        if renew is not None:
            self._queue.add_later(uid, renew)


def _now() -> float:
    return asyncio.get_running_loop().time()
