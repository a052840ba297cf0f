"""A cloud, two edges of ours and one like KubeEdge's under random faults in virtual time; a seed is a whole history.

    play(seed, directory)      raises `Broken` with a trace when a promise is broken; the same seed, the same history

Faults fall between any two steps of the event loop: cut, half-open, slow and mended links, connections that begin
before the node's last one has ended, killed edges and clouds, clouds that start while the API server is away, writes
lost that were not synced, full disks on either side, a database damaged, each machine's clock jumping by hours.

Looked at after every action, and at the end, when all faults have stopped:

* a Pod's uid runs at most once;
* per object an edge never goes back to an older version;
* what an edge has acknowledged, it has: nothing confirmed is lost, be the disk kept;
* all converges: each node holds and runs exactly the Pods that the API has for it, and the API says Running; of the
  ConfigMaps that they refer to it has the last version, byte for byte what the API has.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from octoedge.api.meta import view
from octoedge.errors import ApiError, ConnectError
from octoedge.kube.kinds import CONFIGMAPS, PODS
from octoedge.testing.clock import run
from octoedge.testing.cluster import Cable, Cluster, EdgeNode, cluster
from octoedge.testing.goedge import GoEdge
from octoedge.testing.inline import InlineDatabase

STEPS = 40
OURS = ("edge-1", "edge-2")
GO = "go-edge"
NAMES = 7
"""So few names of pods that some are taken again while their predecessor has not gone everywhere."""
RULES = 2
"""ConfigMaps; most pods refer to one."""


class Broken(AssertionError):
    """A promise was broken; the text is the trace."""


def play(seed: int, directory: Path, *, steps: int = STEPS) -> list[str]:
    """One history; returns its trace."""
    random.seed(seed)  # what waits with jitter draws from here
    history = History(seed)
    try:
        run(history.run(directory, steps))
    except Exception as error:
        lines = "\n".join(history.trace)
        raise Broken(f"seed {seed}: {_first(error)!r}\n{lines}\nagain: tools/soak.py --seed {seed}") from error
    return history.trace


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class History:
    """Does one random thing after another, and looks."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - a simulation that repeats
        self.trace: list[str] = []
        self._seen: dict[tuple[str, str], int] = {}
        """(node, uid) → the newest version seen there."""
        self._made = 0
        self._world: Cluster
        self._go: GoEdge
        self._go_cable: Cable

    async def run(self, directory: Path, steps: int) -> None:
        """Faults, then peace, then the verdict."""
        async with cluster(directory, *OURS) as world:
            self._world = world
            self._go_cable = Cable(GO, world)
            self._go = GoEdge(GO, self._go_cable.dial)
            for number in range(RULES):
                await world.create(CONFIGMAPS, "default", _rules(number, 0))
            world.spawn(self._go.live(), GO)
            weights, actions = zip(*_ACTIONS, strict=True)
            for _ in range(steps):
                (action,) = self._rng.choices(actions, weights)
                self._note(action.__name__.strip("_"))
                await action(self)
                await self._ticks()
                self._look()
            await self._make_whole()
            await self._until_settled()
            await asyncio.sleep(30)
            self._look()
            await self._until_settled(400)  # while a link was dead that nobody needed; a Go edge sees that by TCP

    def _note(self, what: str) -> None:
        self.trace.append(f"{asyncio.get_running_loop().time():10.3f} {what}")

    async def _ticks(self) -> None:
        """Some steps of the loop: what comes next falls between any two of them."""
        for _ in range(self._rng.choice((0, 1, 2, 5, 10, 20, 40, 80, 160))):
            await asyncio.sleep(0)

    def _node(self) -> EdgeNode:
        name = self._rng.choice(OURS)
        self.trace[-1] += f" {name}"
        return self._world.nodes[name]

    def _cable(self) -> Cable:
        name = self._rng.choice((*OURS, GO))
        self.trace[-1] += f" {name}"
        return self._go_cable if name == GO else self._world.nodes[name].cable

    # ---- what happens ----------------------------------------------------------------------------------------------

    async def _create(self) -> None:
        self._made += 1
        name, node = f"pod-{self._made % NAMES}", self._rng.choice((*OURS, GO))
        self.trace[-1] += f" {name} {node}"
        rules = f"rules-{self._made % RULES}"
        volumes = [{"name": "rules", "configMap": {"name": rules}}] if self._rng.random() < 0.7 else []
        await self._asked(409, self._world.create_pod(name, node, volumes=volumes))

    async def _change_rules(self) -> None:
        """So large that between ours only what is new goes down."""
        number, seen = self._rng.randrange(RULES), self._rng.randrange(1000)
        self.trace[-1] += f" {number}"
        patch = msgspec.json.encode({"data": _rules(number, seen)["data"]})
        await self._asked(0, self._world.client.patch(CONFIGMAPS, "default", f"rules-{number}", patch))

    async def _delete(self) -> None:
        pods = self._world.api.within("/api/v1/pods")
        if pods:
            name = self._rng.choice(pods)["metadata"]["name"]
            self.trace[-1] += f" {name}"
            await self._asked(404, self._world.client.delete(PODS, "default", name))

    async def _asked(self, code: int, request: Awaitable[object]) -> None:
        """What a user asks may come too late, or while the API server is away; any other refusal is a defect."""
        try:
            await request
        except ConnectError:
            if not self._world.api.away:
                raise
        except ApiError as error:
            if error.code != code and not (self._world.api.full and error.code == 500):
                raise

    async def _cut(self) -> None:
        await self._cable().cut()

    async def _half_open(self) -> None:
        self._cable().silence()

    async def _slow_down(self) -> None:
        """From the next connection on."""
        lag = self._rng.choice((0.05, 0.7, 3.0))
        self.trace[-1] += f" {lag} s"
        self._cable().lag = lag

    async def _move(self) -> None:
        await self._cable().move()

    async def _mend(self) -> None:
        self._cable().mend()

    async def _restart_node(self) -> None:
        node = self._node()
        await node.kill()
        await self._ticks()
        await node.start()

    async def _lose_database(self) -> None:
        node = self._node()
        await node.lose_database()
        self._seen = {key: version for key, version in self._seen.items() if key[0] != node.name}
        await node.start()

    async def _fill_disk(self) -> None:
        database = self._node().database
        if isinstance(database, InlineDatabase):
            database.full = not database.full

    async def _fill_disk_of_the_api(self) -> None:
        self._world.api.full = not self._world.api.full

    async def _restart_cloud(self) -> None:
        await self._world.kill_cloud()
        await self._ticks()
        await self._world.start_cloud(wait=False)

    async def _api_away(self) -> None:
        api = self._world.api
        if api.away:
            api.away = False
        else:
            await api.go_away()

    async def _jump_clock(self) -> None:
        hours = self._rng.choice((-9, -1, 1, 9))
        self.trace[-1] += f" {hours:+} h"
        clocks = [self._world.clock, *(node.clock for node in self._world.nodes.values())]
        at = self._rng.randrange(len(clocks))
        self.trace[-1] += f" {('cloud', *OURS)[at]}"
        clocks[at].shift(hours * 3600)

    async def _end_container(self) -> None:
        node = self._node()
        running = node.runtime.running()
        if running:
            node.runtime.exit_container(self._rng.choice(running).id, 1)

    async def _rest(self) -> None:
        await asyncio.sleep(self._rng.choice((0.01, 0.3, 1.0, 7.0, 30.0)))

    async def _make_whole(self) -> None:
        self._note("all is whole again")
        self._world.api.away = self._world.api.full = False
        self._go_cable.mend()
        for node in self._world.nodes.values():
            node.cable.mend()
            if isinstance(node.database, InlineDatabase):
                node.database.full = False

    # ---- what must hold --------------------------------------------------------------------------------------------

    def _look(self) -> None:
        runs = Counter(
            node.runtime.sandboxes[container.sandbox_id].config.metadata.uid
            for node in self._world.nodes.values()
            for container in node.runtime.running()
        )
        twice = [uid for uid, count in runs.items() if count > 1]
        if twice:
            raise AssertionError(f"pods that run more than once: {twice}")
        if self._go.backwards:
            raise AssertionError(f"sent out of order: {self._go.backwards}")
        for node in self._world.nodes.values():
            self._look_at(node)

    def _look_at(self, node: EdgeNode) -> None:
        if node.meta is None or node.database is None:
            return
        held = {view(obj).metadata.uid: view(obj).metadata.version for obj in node.stored("pod", "configmap")}
        for uid, version in held.items():
            before = self._seen.get((node.name, uid), 0)
            if version < before:
                raise AssertionError(f"{node.name} went back from {before} to {version} of {uid}")
            self._seen[node.name, uid] = version
        cloud = self._world.cloud
        if cloud is None or self._world.api.away:
            return
        living = {
            obj["metadata"]["uid"]
            for kind in ("pods", "configmaps")
            for obj in self._world.api.within(f"/api/v1/{kind}")
            if "deletionTimestamp" not in obj["metadata"]
        }
        if cloud.checkpoints.store_of(node.name) != node.store_id:
            return
        for uid, known in cloud.checkpoints.known(node.name).items():
            if uid in living and known.version > held.get(uid, 0):
                raise AssertionError(f"{node.name} acknowledged {known.version} of {uid}, has {held.get(uid)}")

    async def _until_settled(self, seconds: float = 900) -> None:
        try:
            await self._world.until(self._settled, seconds)
        except TimeoutError:
            raise AssertionError(f"did not settle: {self._picture()}") from None

    async def _settled(self) -> bool:
        pods = self._world.api.within("/api/v1/pods")
        if any("deletionTimestamp" in pod["metadata"] for pod in pods if pod["spec"]["nodeName"] != GO):
            return False
        for name, node in self._world.nodes.items():
            mine = {pod["metadata"]["uid"]: pod for pod in pods if pod["spec"]["nodeName"] == name}
            if node.meta is None:
                return False
            held = {view(obj).metadata.uid for obj in await node.meta.list("pod")}
            wanted = sorted(pod["metadata"]["name"] for pod in mine.values())
            said = all(pod.get("status", {}).get("phase") == "Running" for pod in mine.values())
            if held != set(mine) or node.running() != wanted or not said or len(node.meta.outbox):
                return False
            has = {view(obj).metadata.name: msgspec.json.decode(obj) for obj in await node.meta.list("configmap")}
            if any(has.get(name) != rules for name, rules in self._referred(mine.values()).items()):
                return False
        wanted_go = {
            f"default/pod/{pod['metadata']['name']}": pod["metadata"]["uid"]
            for pod in pods
            if pod["spec"]["nodeName"] == GO
        }
        held_go = {path: uid for path, (uid, _) in self._go.held.items() if "/pod/" in path}
        rules_go = self._referred(pod for pod in pods if pod["spec"]["nodeName"] == GO)
        has_go = {path: version for path, (_, version) in self._go.held.items()}
        return held_go == wanted_go and all(
            has_go.get(f"default/configmap/{name}") == int(rules["metadata"]["resourceVersion"])
            for name, rules in rules_go.items()
        )

    def _referred(self, pods: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """The ConfigMaps that pods refer to, by name, as the API has them."""
        names = {volume["configMap"]["name"] for pod in pods for volume in pod["spec"].get("volumes", [])}
        return {name: self._world.api.find("/api/v1/namespaces/default/configmaps", name) for name in names}

    def _picture(self) -> str:
        api = {
            pod["metadata"]["name"]: (
                pod["metadata"]["uid"],
                pod["spec"]["nodeName"],
                pod["status"].get("phase"),
                "deletionTimestamp" in pod["metadata"],
            )
            for pod in self._world.api.within("/api/v1/pods")
        }
        nodes = {
            name: (
                node.running(),
                node.meta is not None and node.meta.online,
                len(node.meta.outbox) if node.meta else 0,
            )
            for name, node in self._world.nodes.items()
        }
        return f"API {api}, nodes {nodes}, {GO} {self._go.held}"


def _rules(number: int, seen: int) -> dict[str, Any]:
    lines = [f"{number}: rule {line} of many" for line in range(100)]
    lines[seen % 100] = f"changed {seen}"
    data = {"rules": "\n".join(lines)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"rules-{number}"}, "data": data}


Action = Callable[[History], Awaitable[None]]

_ACTIONS: tuple[tuple[int, Action], ...] = (
    (12, History._create),
    (6, History._delete),
    (14, History._change_rules),
    (5, History._cut),
    (2, History._half_open),
    (2, History._slow_down),
    (4, History._move),
    (9, History._mend),
    (8, History._restart_node),
    (1, History._lose_database),
    (2, History._fill_disk),
    (1, History._fill_disk_of_the_api),
    (4, History._restart_cloud),
    (3, History._api_away),
    (2, History._jump_clock),
    (4, History._end_container),
    (10, History._rest),
)
"""How often each happens, and what."""
