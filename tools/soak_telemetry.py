"""`make soak-telemetry`: an installation of its own, whose values are counted while all of it is killed, hung and cut.

    clients and mappers that keep ledgers ─► EdgeCore ─► link (loss, delay, cuts) ─► CloudCore: store ─► an export
    on each of two nodes                                            every few minutes: peace, then the audit

tools/soak_telemetry.py --minutes 60 --seed 17        status 1 when a value is missing, or there twice

A value that was answered for must be in the store, once and in its order; `octoedge telemetry audit` must say so by
itself, `octoedge device history` must show the same, and the export must have brought each on. It needs root, as
`octoedge up` does; everything is taken away at the end. The machine's clock stays as it is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from octoedge.commands.bench.wan import Wan, Weather, wan
from octoedge.testing.besieged import FAR, Besieged, installed
from octoedge.testing.installation import Installation
from octoedge.testing.ledger import Copies

LANES = 200
"""Of links through a process like this on one machine; benchmarks have lane 0."""
AUDIT_SECONDS = 360.0
SETTLE_SECONDS = 300.0
PAUSES = (1.0, 4.0, 10.0, 20.0)
"""Seconds between two faults."""
AWAY = (0.0, 0.5, 3.0, 15.0, 45.0)
"""Seconds until what was killed is started again."""
HUNG = (2.0, 10.0, 40.0, 75.0)
WEATHERS = (
    Weather(loss=1.0), Weather(loss=1.0), Weather(loss=0.3), Weather(delay=1.0), Weather(delay=0.3, jitter=0.3),
)  # fmt: skip
WEATHER_SECONDS = (5.0, 20.0, 60.0, 90.0)


class Door:
    """The other system of the export: takes values, and has its moods."""

    def __init__(self, rng: random.Random) -> None:
        self.copies: dict[str, Copies] = {}
        self.moods = 0.0
        """How likely it is that a request goes wrong."""
        self._rng = rng

    async def take(self, request: web.Request) -> web.Response:
        """Refuse, take and answer, or take and say nothing."""
        body = await request.read()
        wrong = self._rng.random() < self.moods
        if wrong and self._rng.random() < 0.5:
            return web.Response(status=503)
        for line in body.splitlines():
            one = json.loads(line)
            copies = self.copies.setdefault(f"{one['device']}/{one['property']}", Copies())
            copies.got.append((one["time"], one["value"]))
        if wrong and request.transport is not None:
            request.transport.abort()
        return web.Response()


class Siege:
    """One run."""

    def __init__(self, besieged: Besieged, link: Wan, door: Door, rng: random.Random) -> None:
        self._besieged = besieged
        self._link = link
        self._door = door
        self._rng = rng
        self._down: set[str] = set()
        """Killed, and not started again yet."""
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.audits = 0
        self._began = time.monotonic()

    async def run(self, minutes: float) -> None:
        """Faults and audits, until the time is over or something is wrong."""
        until = self._began + 60 * minutes
        async with asyncio.TaskGroup() as group:
            speaking = group.create_task(self._besieged.speak(), name="speak")
            minute = group.create_task(self._tell(), name="a line a minute")
            try:
                while not self.wrong and time.monotonic() < until:
                    await self._storm(min(until, time.monotonic() + AUDIT_SECONDS))
                    await self._peace()
            finally:
                minute.cancel()
                self._besieged.over()
                await asyncio.wait([speaking], timeout=60)

    async def _storm(self, until: float) -> None:
        """Faults, some at the same time, each with its own end."""
        actions, weights = zip(*_FAULTS.items(), strict=True)
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < until:
                (fault,) = self._rng.choices(actions, weights)
                group.create_task(fault(self), name=fault.__name__)
                await asyncio.sleep(self._rng.choice(PAUSES))

    # ---- faults ----------------------------------------------------------------------------------------------------

    async def _kill(self) -> None:
        """One process, by kill -9."""
        await self._killed([self._rng.choice(list(self._besieged.processes))])

    async def _end(self) -> None:
        """One process, asked to end."""
        name = self._one(("cloudcore", "apiserver", "edgecore", "mapper"))
        if self._claim(name):
            self.done["ends"] += 1
            await asyncio.to_thread(self._besieged.processes[name].stop, 15)
            await self._again([name])

    async def _power(self) -> None:
        """All of a node, or of the cloud, at the same moment."""
        place = self._rng.choice(("", *(node.node for node in self._besieged.nodes)))
        self.done["power cuts"] += 1
        await self._killed([name for name in self._besieged.processes if name.partition("@")[2] == place])

    async def _hang(self) -> None:
        """A process does not get on, and its connections stay open."""
        name = self._one(("cloudcore", "edgecore", "apiserver"))
        pid = self._besieged.processes[name].pid()
        if pid is None or not self._claim(name):
            return
        self.done["hangs"] += 1
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(self._rng.choice(HUNG))
        finally:
            os.kill(pid, signal.SIGCONT)
            self._down.discard(name)

    async def _weather(self) -> None:
        """The far node's link is cut, or bad."""
        weather = self._rng.choice(WEATHERS)
        self.done["cuts" if weather.loss == 1.0 else "bad links"] += 1
        self._link.weather = weather
        await asyncio.sleep(self._rng.choice(WEATHER_SECONDS))
        self._link.weather = Weather()

    async def _move(self) -> None:
        """The far node gets another address."""
        self.done["moves"] += 1
        await asyncio.to_thread(self._link.move)

    async def _moody(self) -> None:
        """The other system of the export refuses, or takes and does not answer."""
        self.done["moods"] += 1
        self._door.moods = 0.6
        await asyncio.sleep(self._rng.choice(HUNG))
        self._door.moods = 0.0

    def _one(self, kinds: tuple[str, ...]) -> str:
        return self._rng.choice([name for name in self._besieged.processes if name.partition("@")[0] in kinds])

    def _claim(self, name: str) -> bool:
        """Whether nobody else is at it; a process that ended without us is a finding."""
        if name in self._down:
            return False
        if self._besieged.processes[name].pid() is None:
            self.wrong.append(f"{name} has ended by itself: {self._besieged.processes[name].last_words()}")
            return False
        self._down.add(name)
        return True

    async def _killed(self, names: list[str]) -> None:
        taken = [name for name in names if self._claim(name)]
        self.done["kills"] += len(taken)
        for name in taken:
            self._besieged.processes[name].kill()
        await self._again(taken)

    async def _again(self, names: list[str]) -> None:
        """Start them again, each in its own time."""
        for name in self._rng.sample(names, len(names)):
            await asyncio.sleep(self._rng.choice(AWAY) / len(names))
            self._besieged.processes[name].start()
            self._down.discard(name)

    # ---- peace -----------------------------------------------------------------------------------------------------

    async def _peace(self) -> None:
        """All is well again, nobody speaks, everything has come: then what is stored is looked at."""
        gone = [name for name, daemon in self._besieged.processes.items() if daemon.pid() is None]
        self.wrong += [f"{name} has ended by itself" for name in gone]
        self._besieged.rest(wanted=True)
        found = await self._soon(self._unrested, 120.0) or await self._soon(self._unsettled, SETTLE_SECONDS)
        self.wrong += found
        if not found:
            stored = self._besieged.stored()
            self.wrong += await asyncio.to_thread(lambda: [*self._besieged.shown_wrongly(stored)])
        self.audits += 1
        self._say(f"audit {self.audits}: {'; '.join(self.wrong) or 'nothing is missing, nothing is there twice'}")
        self._besieged.rest(wanted=False)

    async def _soon(self, look: Callable[[], list[str]], seconds: float) -> list[str]:
        """What is still wrong after so long; nothing as soon as nothing is."""
        until = time.monotonic() + seconds
        while found := await asyncio.to_thread(look):
            if time.monotonic() > until:
                return found
            await asyncio.sleep(2)
        return []

    def _unrested(self) -> list[str]:
        return [f"{who} gets no answer" for who in self._besieged.restless]

    def _unsettled(self) -> list[str]:
        stored = self._besieged.stored()
        found = [*self._besieged.complaints(stored)]
        waiting = [one["stream"] for one in self._besieged.audit()["accounts"] if one["waiting"]]
        found += [f"{stream} waits on its node" for stream in waiting]
        for stream, pairs in stored.items():
            found += [
                f"export of {stream}: {text}" for text in self._door.copies.get(stream, Copies()).complaints(pairs)
            ]
        return found

    # ---- words -----------------------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(60)
            self._say(self.sum())

    def sum(self) -> str:
        """What has happened so far."""
        ledgers = self._besieged.ledgers.values()
        heard = sum(ledger.heard for ledger in ledgers)
        done = ", ".join(f"{count} {what}" for what, count in sorted(self.done.items()))
        return f"{heard:,} values answered of {sum(map(len, ledgers)):,} said; {done}"

    def _say(self, text: str) -> None:
        minute, second = divmod(int(time.monotonic() - self._began), 60)
        print(f"{minute:3}:{second:02} {text}", flush=True)


_FAULTS: dict[Callable[[Siege], Awaitable[None]], int] = {
    Siege._kill: 10,
    Siege._end: 2,
    Siege._power: 2,
    Siege._hang: 3,
    Siege._weather: 6,
    Siege._move: 1,
    Siege._moody: 2,
}
"""How often each happens."""


async def _besiege(home: Path, offset: int, minutes: float, seed: int) -> int:
    rng = random.Random(seed)
    installation = await asyncio.to_thread(installed, home, offset)
    besieged = Besieged(installation)
    door = Door(rng)
    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/values", door.take)
    runner = web.AppRunner(app)
    await runner.setup()
    port = 8099 + offset
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.to_thread(besieged.furnish, f"http://127.0.0.1:{port}/values")
        async with wan(installation.node(FAR), 1 + offset // 100 % LANES) as link:
            siege = Siege(besieged, link, door, rng)
            await siege.run(minutes)
    finally:
        besieged.end()
        await runner.cleanup()
    audit = installation.octoedge("telemetry", "audit").out.strip()
    print(
        f"\n{minutes:g} minutes, seed {seed}: {siege.sum()}; {siege.audits} audits\n`octoedge telemetry audit`: {audit}"
    )
    print("\n".join(siege.wrong) or "Nothing is missing, nothing is there twice, and the export has each value.")
    return 1 if siege.wrong else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Count values while all is killed, hung and cut.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--port-offset", type=int, default=int(os.environ.get("OCTOEDGE_PORT_OFFSET") or 12_000))
    parser.add_argument("--keep", action="store_true", help="leave the installation's files where something was wrong")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    home = Path(tempfile.mkdtemp(prefix="octoedge-soak-"))
    print(f"seed {arguments.seed}, in {home}", flush=True)
    status = 2
    try:
        status = asyncio.run(_besiege(home, arguments.port_offset, arguments.minutes, arguments.seed))
    finally:
        if status and arguments.keep:
            print(f"its files stay in {home}")
            Installation(home, arguments.port_offset).down()
        else:
            Installation(home, arguments.port_offset).down(purge=True)
            shutil.rmtree(home, ignore_errors=True)
            shutil.rmtree(f"{home}-kubectl", ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
