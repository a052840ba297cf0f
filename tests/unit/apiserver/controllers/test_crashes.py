"""Killed between any two writes, again and again, a roll-out keeps to its limits and ends right.

Each seed is another story: another size, another strategy, other commits after which the process dies, nodes that are
away for a while. `OCTOEDGE_SEEDS=2000` tells more of them.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.errors import ApiError
from octoedge.kube.read import Change
from octoedge.testing.controlplane import ControlPlane, is_living, is_ready, simulate, workload

Json = dict[str, Any]
SEEDS = int(os.environ.get("OCTOEDGE_SEEDS", "200"))
STRIDE = 25
"""Stories in one test."""


def image_of(pod: Json) -> str:
    return str(pod["spec"]["containers"][0]["image"])


class Witness:
    """Sees every change of every Pod, and objects to what may never be."""

    def __init__(self, at: ControlPlane, most: int, least: int) -> None:
        self.at = at
        self.most = most
        self.least = least
        self.final = ""
        """Pods with this image stay once they are ready."""
        self.homes: dict[str, str] = {}
        self.pods: dict[str, Json] = {}
        self.starts = 0
        self.armed = False
        self.objections: list[AssertionError] = []
        """What was wrong; a process that is killed afterwards must not hide it."""
        at.watchers.append(self.seen)

    def seen(self, change: Change) -> None:
        try:
            self._judge(change)
        except AssertionError as error:
            self.objections.append(error)

    def _judge(self, change: Change) -> None:
        if self.starts != self.at.starts:
            # What was written in the moment of the kill was not watched.
            self.starts = self.at.starts
            self.pods = {pod["metadata"]["uid"]: pod for pod in self.at.all("pods")}
        pod: Json = msgspec.json.decode(change.item.data)
        uid = pod["metadata"]["uid"]
        before = self.pods.pop(uid, {})
        if change.type != "DELETED":
            self.pods[uid] = pod
        self._stays_bound(uid, pod)
        self._keeps_to_limits()
        if self.final and before and is_living(before) and is_ready(before) and image_of(before) == self.final:
            assert uid in self.pods, f"{pod['metadata']['name']} was well and new, and was removed"
            assert is_living(pod), f"{pod['metadata']['name']} was well and new, and was deleted"

    def _stays_bound(self, uid: str, pod: Json) -> None:
        home = pod["spec"].get("nodeName", "")
        assert self.homes.get(uid, "") in ("", home), f"bound to {self.homes[uid]} and then to {home}"
        self.homes[uid] = home

    def _keeps_to_limits(self) -> None:
        living = [pod for pod in self.pods.values() if is_living(pod)]
        ready = sum(is_ready(pod) for pod in living)
        assert len(living) <= self.most, f"{len(living)} live, {self.most} may"
        self.armed = self.armed or ready >= self.least
        assert not self.armed or ready >= self.least, f"{ready} are ready, {self.least} must"


class Chaos:
    """Kills the process after commits that the seed chooses, until it is told to stop."""

    def __init__(self, at: ControlPlane, rng: random.Random, times: int) -> None:
        self.at = at
        self.rng = rng
        self.left = times

    async def run(self) -> None:
        while self.left:
            self.left -= 1
            self.at.crash_after(self.rng.choice((1, 2, 3, 4, 6, 9, 14, 20, 30)))
            await self.at.crashed()

    async def insist(self, act: Callable[[], Awaitable[None]]) -> None:
        """What a user does who tries again when the connection breaks."""
        for _ in range(50):
            try:
                async with asyncio.timeout(2):
                    await act()
                return
            except (TimeoutError, ApiError) as error:
                if isinstance(error, ApiError) and error.code in (404, 409):
                    return
                await asyncio.sleep(0.3)
        raise AssertionError("it could not be done")


def is_rolled_out(at: ControlPlane, replicas: int, image: str) -> bool:
    status = at.get("deployments.apps", "web").get("status") or {}
    counts = [status.get(field, 0) for field in ("replicas", "updatedReplicas", "availableReplicas")]
    images = {image_of(pod) for pod in at.all("pods")}
    return counts == [replicas] * 3 and images == {image} and len(at.all("pods")) == replicas


async def settled(at: ControlPlane, replicas: int, image: str) -> None:
    for _ in range(600):
        if is_rolled_out(at, replicas, image):
            return
        await asyncio.sleep(1)
    raise AssertionError(f"not rolled out: {at.get('deployments.apps', 'web').get('status')}")


async def tell(at: ControlPlane, seed: int) -> None:
    rng = random.Random(seed)
    replicas = rng.randint(1, 6)
    surge, unavailable = rng.choice([(1, 0), (0, 1), (1, 1), (2, 0), (0, 2), (3, 1)])
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    wish = workload("Deployment", "web", replicas=replicas, strategy=rolling)
    await at.create(wish)
    await settled(at, replicas, "i:1")
    witness = Witness(at, replicas + surge, replicas - min(unavailable, replicas))
    chaos = Chaos(at, rng, rng.randint(1, 5))
    async with asyncio.TaskGroup() as group:
        killer = group.create_task(chaos.run())
        image = "i:1"
        for number in range(rng.randint(1, 3)):
            image = f"i:{number + 2}"
            witness.final = ""

            def change(obj: Json, image: str = image) -> None:
                obj["spec"]["template"]["spec"]["containers"][0]["image"] = image

            await chaos.insist(lambda change=change: at.edit("deployments.apps", "web", change))  # type: ignore[misc]
            at.cut_off = {rng.choice(at.nodes)} if rng.random() < 0.3 else set()
            await asyncio.sleep(rng.random() * 8)
        witness.final = image
        await asyncio.sleep(20)
        at.cut_off = set()
        await settled(at, replicas, image)
        killer.cancel()
    at.crash_after(0)
    if rng.random() < 0.5:
        await orphaned_and_adopted(at, rng, wish, replicas, image)
    await settled(at, replicas, image)
    assert witness.objections == []
    for pod in at.all("pods"):
        (owner,) = pod["metadata"]["ownerReferences"]
        assert at.get("replicasets.apps", owner["name"])["metadata"]["uid"] == owner["uid"]
    for one in at.all("replicasets.apps"):
        assert one["metadata"]["ownerReferences"][0]["uid"] == at.get("deployments.apps", "web")["metadata"]["uid"]
        assert one["spec"]["replicas"] in (0, replicas)


async def orphaned_and_adopted(at: ControlPlane, rng: random.Random, wish: Json, replicas: int, image: str) -> None:
    """The Deployment is deleted without its Pods and applied again: they stay the same."""
    before = {pod["metadata"]["uid"] for pod in at.all("pods")}
    chaos = Chaos(at, rng, 2)
    async with asyncio.TaskGroup() as group:
        killer = group.create_task(chaos.run())
        await chaos.insist(lambda: at.delete("deployments.apps", "web", "Orphan"))
        for _ in range(100):
            if not at.get("deployments.apps", "web"):
                break
            await asyncio.sleep(0.5)
        again = msgspec.json.decode(msgspec.json.encode(wish))
        again["spec"]["template"]["spec"]["containers"][0]["image"] = image
        await chaos.insist(lambda: at.create(again))
        await settled(at, replicas, image)
        killer.cancel()
    at.crash_after(0)
    assert {pod["metadata"]["uid"] for pod in at.all("pods")} == before


@pytest.mark.parametrize("first", range(0, SEEDS, STRIDE))
def test_killed_between_any_two_writes(tmp_path: Path, first: int) -> None:
    for seed in range(first, min(first + STRIDE, SEEDS)):
        folder = tmp_path / str(seed)
        folder.mkdir()

        async def story(at: ControlPlane, seed: int = seed) -> None:
            await tell(at, seed)

        try:
            simulate(folder, story)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
