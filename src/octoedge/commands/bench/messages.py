"""Very many messages while everything is killed again and again: what is lost, and what happens twice?

    writers ─► API server ─► CloudCore ═ TLS ═ 4 processes of 10 nodes each: EdgeHub, MetaManager, SQLite on disk
       kill -9, now this one, now that one, at random, every few seconds

Looked at after each kill of nodes, before they start again: nothing that the cloud holds for confirmed is missing. At
the end: every node has the last version of everything, the API the last status of every pod; nothing took effect twice
on any disk, nothing went back to an older version.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from octoedge.commands.bench.fleet import HUB, CloudProcess, authority
from octoedge.commands.bench.plane import Plane, plane
from octoedge.commands.bench.report import Samples
from octoedge.commands.bench.stores import Journal, database, make
from octoedge.commands.bench.world import GRACE
from octoedge.errors import DeadlineError, OctoedgeError
from octoedge.kube.client import Client
from octoedge.kube.kinds import CONFIGMAPS, NODES, OBJECTSYNCS, PODS, Kind
from octoedge.pki import x509

Json = dict[str, Any]
MESSAGES = 50_000
"""In a usual run; `octoedge bench --only messages --messages 1000000` is the whole."""
PROCESSES, EACH = 4, 10
OBJECTS = 8
WRITERS = 2
KILL_SECONDS = (3.0, 9.0)
SETTLE_LOOKS = 180
"""One a second."""
STALL_SECONDS = 180.0
_REPLACED = 0.02
"""So many of the changes delete the object, and one of the same name comes."""


async def messages(count: int = MESSAGES) -> Samples:
    """Carry at least `count` messages; all figures."""
    async with plane() as api, Client(api.access) as client:
        world = _World(api, client, random.Random())  # noqa: S311 - chance, no secret
        await world.prepare()
        try:
            began = time.monotonic()
            await world.run(count)
            took = time.monotonic() - began
            await world.settle()
            return world.verdict(took)
        finally:
            world.stop()


class _World:
    def __init__(self, api: Plane, client: Client, rng: random.Random) -> None:
        self._api = api
        self._client = client
        self._rng = rng
        self._cloud = CloudProcess(api)
        self._folder = api.folder.with_name("nodes")
        self._names = [[f"store-{process}-{number}" for number in range(EACH)] for process in range(PROCESSES)]
        self._edges: list[subprocess.Popen[bytes] | None] = [None] * PROCESSES
        self._kills = 0
        self._missing = 0
        self._changed = 0
        self._enough = asyncio.Event()

    @property
    def _journals(self) -> Iterator[tuple[str, Journal]]:
        return ((name, Journal(database(self._folder, name))) for names in self._names for name in names)

    async def prepare(self) -> None:
        """Objects, nodes, a pod for each that refers to all objects; then everything starts."""
        for number in range(OBJECTS):
            await self._client.create(CONFIGMAPS, "default", _configmap(number, "0"))
        for name, _ in self._journals:
            await self._client.create(NODES, "", _node(name))
            await self._client.create(PODS, "default", _pod(name))
        await asyncio.to_thread(self._cloud.start)
        ca = await authority(self._client)
        await asyncio.to_thread(self._make_nodes, ca)
        for process in range(PROCESSES):
            self._start(process)

    async def run(self, count: int) -> None:
        """Change and kill until so many messages have taken effect."""
        async with asyncio.TaskGroup() as group:
            writers = [group.create_task(self._write(), name=f"writer {number}") for number in range(WRITERS)]
            killer = group.create_task(self._kill(), name="killer")
            done, moved = 0, time.monotonic()
            while done < count:
                await asyncio.sleep(1)
                before, done = done, await asyncio.to_thread(self._effects)
                self._none_died()
                moved = time.monotonic() if done > before else moved
                if time.monotonic() - moved > STALL_SECONDS:
                    raise DeadlineError(f"nothing took effect any more after {done} messages and {self._kills} kills")
            self._enough.set()
            await killer  # whom it has killed last lives again
            for writer in writers:
                writer.cancel()

    async def settle(self) -> None:
        """Everything runs; return when all is as it should be, or time is up: `verdict` counts."""
        for _ in range(SETTLE_LOOKS):
            self._none_died()
            lost = await self._lost()
            if not lost:
                break
            await asyncio.sleep(1)
        self._missing += lost
        if lost:
            print(f"{lost} not where they should be: {'; '.join(self._lives())}", file=sys.stderr, flush=True)

    def verdict(self, seconds: float) -> Samples:
        """The figures, once everything has come to rest."""
        effects = self._effects()
        return {
            "messages": [float(effects)],
            "messages_rate": [effects / seconds],
            "messages_kills": [float(self._kills)],
            "messages_lost": [float(self._missing)],
            "messages_doubled": [float(sum(journal.doubled() for _, journal in self._journals))],
            "messages_backwards": [float(sum(journal.backwards() for _, journal in self._journals))],
        }

    def stop(self) -> None:
        """End every process."""
        for process in range(PROCESSES):
            self._end(process)
        self._cloud.kill()

    # ---- what happens ----------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            with contextlib.suppress(OctoedgeError):  # the API server may just have been killed
                await self._change(self._rng.randrange(OBJECTS))
            await asyncio.sleep(0)

    async def _change(self, number: int) -> None:
        self._changed += 1
        name, text = f"{_SHARED}{number}", str(self._changed)
        if self._rng.random() < _REPLACED:
            await self._client.delete(CONFIGMAPS, "default", name)
        try:
            await self._client.patch(CONFIGMAPS, "default", name, msgspec.json.encode({"data": {"text": text}}))
        except OctoedgeError:
            await self._client.create(CONFIGMAPS, "default", _configmap(number, text))

    async def _kill(self) -> None:
        while not await self._ends_within(self._rng.uniform(*KILL_SECONDS)):
            victim = self._rng.choice(("nodes", "nodes", "nodes", "cloudcore", "cloudcore", "apiserver"))
            self._kills += 1
            if victim == "nodes":
                await self._kill_nodes(self._rng.randrange(PROCESSES))
            elif victim == "cloudcore":
                await asyncio.to_thread(self._cloud.kill)
                await asyncio.to_thread(self._cloud.start)
            else:
                await asyncio.to_thread(self._api.kill)
                await asyncio.to_thread(self._api.start)

    async def _ends_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._enough.wait()
        return False

    async def _kill_nodes(self, process: int) -> None:
        """Between death and new life: what the cloud holds for confirmed must lie on the dead nodes' disks."""
        self._end(process)
        confirmed = await self._confirmed()
        for name in self._names[process]:
            held = await asyncio.to_thread(Journal(database(self._folder, name)).held)
            gone = await self._gone(set(confirmed.get(name, {})) - set(held))
            wrong = {
                uid: (version, held.get(uid))
                for uid, version in confirmed.get(name, {}).items()
                if uid not in gone and held.get(uid, 0) < version
            }
            if wrong:
                print(f"{name} has not what it confirmed: {wrong}", file=sys.stderr, flush=True)
                self._missing += len(wrong)
        self._start(process)

    # ---- what is so ------------------------------------------------------------------------------------------------

    async def _confirmed(self) -> dict[str, dict[str, int]]:
        """node → uid → version, by the ObjectSyncs in the API."""
        found: dict[str, dict[str, int]] = {}
        for item in await self._all(OBJECTSYNCS):
            node, _, uid = item["metadata"]["name"].rpartition(".")
            version = item.get("status", {}).get("objectResourceVersion", "")
            if version.isdigit():
                found.setdefault(node, {})[uid] = int(version)
        return found

    async def _gone(self, uids: set[str]) -> set[str]:
        """Those of objects that no longer exist: the node has rightly removed them."""
        if not uids:
            return set()
        living = {item["metadata"]["uid"] for kind in (CONFIGMAPS, PODS) for item in await self._all(kind)}
        return uids - living

    async def _lost(self) -> int:
        """How much is not where it should be: objects at nodes, statuses in the API."""
        try:
            maps, pods = await self._all(CONFIGMAPS), await self._all(PODS)
        except OctoedgeError:
            return 1
        shared = [item["metadata"] for item in maps if item["metadata"]["name"].startswith(_SHARED)]
        wanted = {about["uid"]: int(about["resourceVersion"]) for about in shared}
        said = {item["metadata"]["name"]: item.get("status", {}).get("message", "0") for item in pods}
        return await asyncio.to_thread(self._differences, wanted, said)

    def _differences(self, wanted: dict[str, int], said: dict[str, str]) -> int:
        lost = 0
        for name, journal in self._journals:
            held = journal.held()
            lost += sum(1 for uid, version in wanted.items() if held.get(uid) != version)
            # The node counts on while this looks: what is said may be behind by what was counted since.
            lost += journal.reported() - int(said.get(f"on-{name}", "0")) > _BEHIND
        return lost

    async def _all(self, kind: Kind) -> list[Json]:
        listed = await self._client.list(kind, "" if kind is OBJECTSYNCS else "default")
        return [msgspec.json.decode(item) for item in listed.items]

    def _effects(self) -> int:
        return sum(journal.effects() for _, journal in self._journals)

    def _lives(self) -> Iterator[str]:
        """What each process of nodes has to say: the first place to look."""
        for process, running in enumerate(self._edges):
            held = [len(Journal(database(self._folder, name)).held()) for name in self._names[process]]
            ended = "lives" if running is not None and running.poll() is None else "has ended"
            said = (self._folder / f"process-{process}.log").read_text(errors="replace")[-300:]
            yield f"process {process} {ended}, its nodes hold {held} objects; it said: {said.strip()}"

    # ---- processes -------------------------------------------------------------------------------------------------

    def _start(self, process: int) -> None:
        program = "from octoedge.commands.bench.stores import main; main()"
        command = [sys.executable, "-c", program, str(self._folder), f"wss://127.0.0.1:{HUB}"]
        with (self._folder / f"process-{process}.log").open("ab") as log:
            self._edges[process] = subprocess.Popen([*command, *self._names[process]], stdout=log, stderr=log)

    def _end(self, process: int) -> None:
        running, self._edges[process] = self._edges[process], None
        if running is not None:
            running.kill()
            running.wait(GRACE)

    def _none_died(self) -> None:
        """Who is killed is started again; who ends by himself is a finding. Raises `DeadlineError`."""
        for process, running in enumerate(self._edges):
            if running is not None and running.poll() is not None:
                last = (self._folder / f"process-{process}.log").read_text(errors="replace")[-2000:]
                raise DeadlineError(f"process {process} of nodes ended by itself; its log ends with:\n{last}")

    def _make_nodes(self, ca: x509.Pair) -> None:
        self._folder.mkdir()
        (self._folder / "ca.crt").write_bytes(x509.certificate_to_pem(ca.certificate))
        for name, _ in self._journals:
            key, request = x509.new_node_request(name)
            certificate = x509.sign_node(ca, request, name, days=1, now=time.time())
            (self._folder / f"{name}.key").write_bytes(key)
            (self._folder / f"{name}.crt").write_bytes(x509.certificate_to_pem(certificate))
            make(self._folder, name)


_BEHIND = 10
_SHARED = "shared-"


def _configmap(number: int, text: str) -> bytes:
    about = {"name": f"{_SHARED}{number}", "namespace": "default"}
    return msgspec.json.encode({"kind": "ConfigMap", "apiVersion": "v1", "metadata": about, "data": {"text": text}})


def _node(name: str) -> bytes:
    about = {"name": name, "labels": {"node-role.kubernetes.io/edge": ""}}
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    return msgspec.json.encode({"kind": "Node", "apiVersion": "v1", "metadata": about, "status": status})


def _pod(node: str) -> bytes:
    volumes = [
        {"name": f"{_SHARED}{number}", "configMap": {"name": f"{_SHARED}{number}", "optional": True}}
        for number in range(OBJECTS)
    ]
    container = {"name": "main", "image": "octoedge.local/hello:1"}
    spec = {"nodeName": node, "containers": [container], "volumes": volumes, "automountServiceAccountToken": False}
    about = {"name": f"on-{node}", "namespace": "default"}
    return msgspec.json.encode({"kind": "Pod", "apiVersion": "v1", "metadata": about, "spec": spec})
