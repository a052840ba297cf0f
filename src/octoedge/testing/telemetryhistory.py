"""Telemetry under random faults in virtual time; a seed is a whole history, from values to the store and its export.

    play(seed, directory)      raises `Broken` with a trace when a promise is broken; the same seed, the same faults

Faults fall between any two steps of the event loop: lost batches and answers, cuts, killed ends, full disks, an outbox
that reaches its limits, clocks that jump, a node that is removed and joins again under its name, a damaged outbox, a
store that is set back to a backup, Devices that lose their annotation and get it again, another system that refuses.

Looked at after every action: numbered = stored + forgotten + waiting + gaps, no duplicate, no gap without a reason that
this history had. At the end, too: what was answered for is in the store under its number with its text, or in a named
gap; and what the store has, the export has, in its order.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from octoedge.api.config.cloudcore import TelemetryExport
from octoedge.cloud.telemetry import intake, store
from octoedge.cloud.telemetry.formats import Value
from octoedge.edge.telemetry.settings import Settings
from octoedge.errors import StoreError, TransportError
from octoedge.store.sqlite import Database
from octoedge.testing.clock import run
from octoedge.testing.simulation import Broken
from octoedge.testing.telemetry import NODE, World
from octoedge.testing.telemetrykept import Kept, read

STEPS = 40
PLACES = ("default/thermometer", "plant/thermometer")
NAMES = ("temperature", "humidity")
HURRIED = "humidity"
"""Its values come without a time."""
START = 1_790_000_000_000
HOUR = 3600.0
FULL, DISK, OLD, UNSAID, ANEW = (
    "the outbox was full",
    "the node's disk was full",
    "older than",
    "the node had them confirmed",
    "the node's outbox was lost",
)
Stream = tuple[str, str]


def play(seed: int, directory: Path, *, steps: int = STEPS) -> list[str]:
    """One history; returns its trace."""
    random.seed(seed)  # what waits with jitter draws from here
    history = History(seed)
    try:
        run(history.run(directory, steps))
    except Exception as error:
        first: BaseException = error
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        lines = "\n".join(history.trace)
        raise Broken(f"seed {seed}: {first!r}\n{lines}\nagain: tools/soak.py --telemetry --seed {seed}") from error
    return history.trace


class History:
    """Does one random thing after another, and looks."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - a simulation that repeats
        self.trace: list[str] = []
        self.reasons = {FULL, DISK, OLD}
        """Of gaps, that may be."""
        self._said: Counter[Stream] = Counter()
        self._answered: dict[tuple[str, str, str, int], str] = {}
        """(device, property, epoch, number) → text"""
        self._exported: dict[Stream, list[str]] = {}
        self._moody = False
        self._gave_again = False
        """Whether a node was set back."""
        self._world: World
        self._backup: Path
        self._image: Path

    async def run(self, directory: Path, steps: int) -> None:
        """Faults, then peace, then the verdict."""
        self._backup, self._image = directory / "backup", directory / "image"
        settings = Settings(
            directory / "edge" / "telemetry.db", max_bytes=96 << 10, max_seconds=6 * HOUR, drop_first=("plant/*",)
        )
        async with asyncio.TaskGroup() as group:
            world = self._world = World(directory, group, settings)
            world.road.rng = self._rng
            world.cloud_settings = intake.Settings(directory / "cloud" / "telemetry.db", max_days=2)
            world.devices = dict.fromkeys(PLACES, frozenset({"*"}))
            world.owners = {("default", "thermometer"): NODE, ("plant", "thermometer"): NODE}
            world.export = self._take
            await world.start_cloud()
            await world.start_edge()
            weights, actions = zip(*_ACTIONS, strict=True)
            for _ in range(steps):
                (action,) = self._rng.choices(actions, weights)
                self._note(action.__name__.strip("_"))
                await action(self)
                await self._ticks()
                self._look()
            await self._peace()
            self._judge()
            await world.kill_edge()
            await world.kill_cloud()

    def _note(self, what: str) -> None:
        self.trace.append(f"{asyncio.get_running_loop().time():10.3f} {what}")

    async def _ticks(self) -> None:
        for _ in range(self._rng.choice((0, 1, 2, 5, 10, 20, 40))):
            await asyncio.sleep(0)

    # ---- values ----------------------------------------------------------------------------------------------------

    async def _speak(self) -> None:
        count, pause = self._rng.choice((1, 5, 50, 300)), self._rng.choice((None, None, 0, 0.01, 0.3, 5))
        self.trace[-1] += f" {count}, {pause} s"
        for _ in range(count):
            if not await self._say(self._rng.choice(PLACES), self._rng.choice(NAMES)):
                return
            if pause is not None:
                await asyncio.sleep(pause)

    async def _flood(self) -> None:
        """More than the outbox holds, while the way is cut."""
        for _ in range(3000):
            if not await self._say(PLACES[0], NAMES[0]) or not await self._say(PLACES[1], NAMES[0]):
                return

    async def _say(self, device: str, name: str) -> bool:
        """One value, the same again until it is taken; whether it was."""
        edge = self._world.edge
        if edge is None or not edge.keeps(device):
            return False
        number = self._said[device, name] + 1
        text = f"{number}"
        stamp = 0 if name == HURRIED else START + number * 1000
        if name == HURRIED:
            self._said[device, name] = number  # who has no time cannot say it again
        task = asyncio.ensure_future(self._keep(device, name, text, stamp))
        await asyncio.wait([task], timeout=6)
        taken = task.done() and task.exception() is None and task.result()
        task.cancel()
        if taken:
            self._said[device, name] = number
        return taken

    async def _keep(self, device: str, name: str, text: str, stamp: int) -> bool:
        edge = self._world.edge
        assert edge is not None
        await edge.keep(device, {name: (text, stamp)})
        if self._world.edge is not edge:
            return False  # it was killed before it could answer
        self._answered[device, name, *self._numbered(device, name)] = text
        return True

    async def _take(self, _: TelemetryExport, values: Sequence[Value]) -> None:
        """The other system."""
        await asyncio.sleep(0)
        wrong = self._moody and self._rng.random() < 0.6
        if wrong and self._rng.random() < 0.5:
            raise TransportError("refused")
        for value in values:
            self._exported.setdefault((value.device, value.property), []).append(value.value)
        await asyncio.sleep(0)
        if wrong:
            raise TransportError("taken, but the answer is lost")

    # ---- what happens ----------------------------------------------------------------------------------------------

    async def _cut(self) -> None:
        self._world.road.cut()

    async def _mend(self) -> None:
        self._world.road.mend()

    async def _lose(self) -> None:
        self._world.road.loses = self._rng.choice((0.0, 0.0, 0.3, 0.8))

    async def _kill_edge(self) -> None:
        talk = asyncio.ensure_future(self._say(PLACES[0], NAMES[0]))
        await self._few_ticks()
        await self._world.kill_edge()
        await talk
        await self._world.start_edge()

    async def _kill_cloud(self) -> None:
        await self._world.kill_cloud()
        await asyncio.sleep(self._rng.choice((0, 1, 70)))
        await self._world.start_cloud()

    async def _few_ticks(self) -> None:
        for _ in range(self._rng.randrange(8)):
            await asyncio.sleep(0)

    async def _fill(self) -> None:
        edge, cloud = self._rng.choice(((True, False), (False, True), (True, True), (False, False)))
        self.trace[-1] += f" edge={edge} cloud={cloud}"
        self._world.fill(edge=edge, cloud=cloud)

    async def _jump(self) -> None:
        hours = self._rng.choice((-50, -9, -1, 1, 9, 50))
        at = self._rng.choice(("edge", "cloud"))
        self.trace[-1] += f" {at} {hours:+} h"
        (self._world.clock if at == "edge" else self._world.cloud_clock).shift(hours * HOUR)

    async def _join_again(self) -> None:
        """The node is removed, and joins again under the same name."""
        self.reasons.add(ANEW)
        await self._world.kill_edge()
        shutil.rmtree(self._world.settings.path.parent, ignore_errors=True)
        await self._world.start_edge()

    async def _damage(self) -> None:
        self.reasons.add(ANEW)
        await self._world.kill_edge()
        path = self._world.settings.path
        if path.exists():
            for file in path.parent.glob("telemetry.db-*"):
                file.unlink()
            path.write_bytes(b"garbage" * 1000)
        await self._world.start_edge()

    async def _take_image(self) -> None:
        """Of the node's disk."""
        await self._world.kill_edge()
        shutil.rmtree(self._image, ignore_errors=True)
        if self._world.settings.path.exists():
            shutil.copytree(self._world.settings.path.parent, self._image)
        await self._world.start_edge()

    async def _set_node_back(self) -> None:
        """Its disk is as it was; what it numbered since, and told nobody, is lost."""
        if not self._image.exists():
            return
        self.reasons.add(ANEW)
        self._gave_again = True
        await self._world.kill_edge()
        shutil.rmtree(self._world.settings.path.parent, ignore_errors=True)
        shutil.copytree(self._image, self._world.settings.path.parent)
        await self._world.start_edge()
        await asyncio.sleep(1)
        for at in [at for at in self._answered if at[3] > self._numbers_of(at[2], at)]:
            del self._answered[at]

    def _numbered(self, device: str, name: str) -> tuple[str, int]:
        return self._world.numbered(device, name) or ("", 0)

    def _numbers_of(self, epoch: str, at: tuple[str, str, str, int]) -> int:
        now, number = self._numbered(at[0], at[1])
        return number if now == epoch else at[3]

    async def _back_up(self) -> None:
        await self._world.kill_cloud()
        if self._world.cloud_settings.path.exists():
            shutil.rmtree(self._backup, ignore_errors=True)
            shutil.copytree(self._world.cloud_settings.path.parent, self._backup)
        await self._world.start_cloud()

    async def _set_back(self) -> None:
        """The store as it was when it was backed up; as if there had never been one, where it was not."""
        self.reasons.add(UNSAID)
        await self._world.kill_cloud()
        shutil.rmtree(self._world.cloud_settings.path.parent, ignore_errors=True)
        if self._backup.exists():
            shutil.copytree(self._backup, self._world.cloud_settings.path.parent)
        await self._world.start_cloud()

    async def _annotate(self) -> None:
        """A Device loses its annotation, or has it again."""
        device = self._rng.choice(PLACES)
        self._world.devices[device] = frozenset() if self._world.devices[device] else frozenset({"*"})
        if self._world.edge is not None:
            self._world.edge.declare(device, self._world.devices[device])

    async def _mood(self) -> None:
        self._moody = not self._moody

    async def _rest(self) -> None:
        await asyncio.sleep(self._rng.choice((0.01, 1, 6, 70, 400, 2 * HOUR)))

    async def _peace(self) -> None:
        self._note("all is whole again")
        world = self._world
        self._moody, world.road.loses = False, 0.0
        world.fill(edge=False, cloud=False)
        world.road.mend()
        for device in PLACES:
            world.devices[device] = frozenset({"*"})
            if world.edge is not None:
                world.edge.declare(device, frozenset({"*"}))
        await asyncio.sleep(120)
        for device in PLACES:
            for name in NAMES:
                if not await self._say(device, name):
                    raise AssertionError(f"{device} {name} is not taken although all is whole")
        await asyncio.sleep(900)

    # ---- what must hold --------------------------------------------------------------------------------------------

    def _look(self) -> None:
        for account in self._accounts():
            missing = sum(last - first + 1 for first, last, _ in account.gaps)
            if account.duplicates or account.sent != account.stored + account.forgotten + account.waiting + missing:
                raise AssertionError(f"does not add up: {account}")
            for _, _, why in account.gaps:
                if not any(why.startswith(reason) for reason in self.reasons):
                    raise AssertionError(f"a gap with a reason that there was not: {account}")

    def _accounts(self) -> list[store.Account]:
        database = self._database()
        return database.read_now(store.accounts) if database is not None else []

    def _database(self) -> Database | None:
        try:
            return self._world.road.cloud.database if self._world.road.cloud is not None else None
        except StoreError:
            return None

    def _judge(self) -> None:
        self._look()
        database = self._database()
        assert database is not None
        kept = read(database, self._numbered)
        if any(one.lives > 1 for one in kept.values()) and not self._gave_again:
            raise AssertionError("a stream was begun anew although no node was set back")
        for (device, name, epoch, number), text in self._answered.items():
            one = kept.get((device, name, epoch))
            if one is None:
                if epoch == self._numbered(device, name)[0] or not self.reasons & {ANEW, UNSAID}:
                    raise AssertionError(f"{device} {name}: nothing of {epoch}, of which {number} was answered")
            elif number in one.texts:
                if one.texts[number] != text and not self._untold(one):
                    raise AssertionError(
                        f"{device} {name} {number}: {one.texts[number]} is stored, {text} was answered"
                    )
            elif not one.explains(number):
                raise AssertionError(f"{device} {name} {number}: answered, and missing unsaid: {one.gaps}")
        self._judge_sums(kept)
        self._judge_exports(kept)

    def _judge_sums(self, kept: dict[tuple[str, str, str], Kept]) -> None:
        for (device, name, epoch), one in kept.items():
            numbered = self._numbered(device, name)
            if numbered[0] == epoch and numbered[1] != one.sent:
                raise AssertionError(f"{device} {name}: {numbered[1]} are numbered, {one.sent} told")
            if len(set(one.texts.values())) < len(one.texts):
                raise AssertionError(f"{device} {name}: a value is stored twice")

    def _untold(self, one: Kept) -> bool:
        """Whether a node that was set back gave a number again, and could not tell the cloud of it: the value was
        dropped, the outbox begun anew before it was sent, or the store set back when it had been."""
        health = self._world.edge.health() if self._world.edge is not None else None
        dropped = bool(health and health["dropped"])
        return self._gave_again and (dropped or not one.current or UNSAID in self.reasons)

    def _judge_exports(self, kept: dict[tuple[str, str, str], Kept]) -> None:
        often = Counter((device, name, text) for (device, name, _), one in kept.items() for text in one.texts.values())
        for (device, name, _), one in kept.items():
            wanted = [text for _, text in sorted(one.texts.items())]
            got = self._exported.get((device, name), [])
            left = set(wanted) - set(got)
            if left:
                raise AssertionError(f"{device} {name}: not exported: {sorted(left)[:5]} …")
            alone = {text: at for at, text in enumerate(text for text in wanted if often[device, name, text] == 1)}
            following = 0
            for text in got:
                at = alone.get(text, -1)
                if at > following and not self._gave_again:
                    raise AssertionError(f"{device} {name}: {text} was exported before its predecessor")
                following = max(following, at + 1)


Action = Callable[[History], Awaitable[None]]

_ACTIONS: tuple[tuple[int, Action], ...] = (
    (30, History._speak),
    (2, History._flood),
    (6, History._cut),
    (8, History._mend),
    (5, History._lose),
    (8, History._kill_edge),
    (6, History._kill_cloud),
    (4, History._fill),
    (3, History._jump),
    (2, History._join_again),
    (1, History._damage),
    (2, History._back_up),
    (3, History._take_image),
    (3, History._set_node_back),
    (2, History._set_back),
    (3, History._annotate),
    (3, History._mood),
    (15, History._rest),
)
"""How often each happens, and what."""
