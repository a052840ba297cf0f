"""What is checked, in order. Each check leaves the device as it found it; an `OctoedgeError` says what was not so."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from octoedge.errors import DeviceError
from octoedge.mappers.framework import values
from octoedge.mappers.kit.bench import Bench, name_of
from octoedge.mappers.kit.rig import Point

FLAPS = 6
_FLAP_SECONDS = 0.2
_SETTLE_SECONDS = 1.0
_SLOW_SECONDS = 0.2
_FOR_EVER = 3600.0
_NONSENSE_SECONDS = 2.0
_MORE_DESCRIPTORS = 4
_MANY_CYCLE_MS = 5000
_MANY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table."""

    title: str
    run: Callable[[Bench], Awaitable[None]]
    needs: str = ""
    """What the rig must be able to do."""


async def _reads(bench: Bench) -> None:
    await bench.put({})
    await bench.all_reported("the device is there")
    for (_, name), twin in bench.edge.latest.items():
        values.parse(twin.value, _point(bench, name).type)
        if not twin.metadata.get("timestamp", "").isdecimal():
            raise DeviceError(f"{name}: the value has no timestamp in milliseconds")
    await bench.state_is("online", "the device is there")


async def _writes(bench: Bench) -> None:
    for point in _settable(bench):
        for wish in (*point.wishes, point.wishes[0]):
            await bench.put({point.name: wish})
            await bench.has(point, wish, "a wish")


async def _refuses(bench: Bench) -> None:
    for point in _settable(bench):
        await bench.put({point.name: point.wishes[0]})
        await bench.has(point, point.wishes[0], "before a wrong wish")
        for wish in _wrong(point):
            await bench.put({point.name: wish})
            await _refused(bench, point, wish)
            real = await bench.rig.value(point.name)
            if real is not None and not values.same(real, point.wishes[0], point.type):
                raise DeviceError(f"{point.name} was set to {real}, though {wish!r} is none of its values")
        await bench.put({})


async def _ignores(bench: Bench) -> None:
    for point in _settable(bench):
        kept, wish = point.wishes[:2]
        await bench.put({point.name: kept})
        await bench.has(point, kept, "before a wish that the device ignores")
        bench.rig.deaf(True)
        try:
            await bench.put({point.name: wish})
            await _told(bench, point, kept, wish, f"is still {kept}, and why it is not {wish}, is reported")
        finally:
            bench.rig.deaf(False)
        await bench.put({point.name: kept})
        await _told(bench, point, kept, "", f"is {kept}, as it is wished again, is reported without a reason")


async def _slow(bench: Bench) -> None:
    bench.rig.late(_SLOW_SECONDS)
    await bench.all_reported("a device that is slow")
    bench.rig.late(_FOR_EVER)
    try:
        await bench.state_is("online", "a device that no longer answers", so=False)
        async with asyncio.timeout(5):
            await bench.edge.ask(name_of(0))
    except TimeoutError:
        raise DeviceError("while a device does not answer, the mapper does not answer EdgeCore") from None
    finally:
        bench.rig.late(0.0)
    await bench.all_reported("a device that answers again")
    await bench.state_is("online", "a device that answers again")


async def _absent(bench: Bench) -> None:
    await bench.rig.there(False)
    try:
        await bench.state_is("offline", "a device that is away")
        await asyncio.sleep(_SETTLE_SECONDS)  # what was on its way still comes
        count = bench.edge.values
        await asyncio.sleep(_SETTLE_SECONDS)
        if bench.edge.values != count:
            raise DeviceError("values are reported of a device that is away")
        for point in _settable(bench)[:1]:
            await bench.put({point.name: point.wishes[1]})
    finally:
        await bench.rig.there(True)
    await bench.all_reported("a device that is back")
    await bench.state_is("online", "a device that is back")
    for point in _settable(bench)[:1]:
        await bench.has(point, point.wishes[1], "a wish that came while the device was away")


async def _flapping(bench: Bench) -> None:
    before = bench.descriptors()
    for _ in range(FLAPS):
        await bench.rig.there(False)
        await asyncio.sleep(_FLAP_SECONDS)
        await bench.rig.there(True)
        await asyncio.sleep(_FLAP_SECONDS)
    bench.alive()
    await bench.all_reported("a device that flapped")
    await bench.state_is("online", "a device that flapped")
    after = bench.descriptors()
    if after > before + _MORE_DESCRIPTORS:
        raise DeviceError(f"the mapper had {before} files open before, {after} after {FLAPS} reconnections")


async def _nonsense(bench: Bench) -> None:
    settable = _settable(bench)
    for point in settable:
        await bench.put({point.name: point.wishes[0]})
        await bench.has(point, point.wishes[0], "before the nonsense")
    if settable:
        await bench.put({point.name: point.wishes[0] for point in settable})
        for point in settable:
            await bench.has(point, point.wishes[0], "before the nonsense")
    bench.edge.reports.clear()
    bench.rig.wrong(True)
    await asyncio.sleep(_NONSENSE_SECONDS)
    bench.rig.wrong(False)
    bench.alive()
    for _, twin in list(bench.edge.reports):
        point = _point(bench, twin.property_name)
        values.parse(twin.reported.value, point.type)
        if point.wishes and not values.same(twin.reported.value, point.wishes[0], point.type):
            raise DeviceError(f"{point.name} was reported to be {twin.reported.value!r}; the device sent nonsense")
    await bench.all_reported("a device that talked nonsense")
    await bench.state_is("online", "a device that talked nonsense")


async def _restart(bench: Bench) -> None:
    for point in _settable(bench)[:1]:
        await bench.put({point.name: point.wishes[0]})
        await bench.has(point, point.wishes[0], "before the restart")
        if "slow" in bench.rig.spoils:
            bench.rig.late(2 * _SLOW_SECONDS)
        await bench.put({point.name: point.wishes[1]})
        await asyncio.sleep(_SLOW_SECONDS)
        await bench.kill()
        if "slow" in bench.rig.spoils:
            bench.rig.late(0.0)
        bench.edge.forget(name_of(0))
        await bench.start()
        await bench.has(point, point.wishes[1], "after kill -9 in mid-write")
    if not _settable(bench):
        await bench.kill()
        await bench.start()
    await bench.all_reported("after a restart")


async def _many(bench: Bench) -> None:
    loop, many = asyncio.get_running_loop(), bench.rig.many
    before, files, began = bench.memory(), float(bench.descriptors()), loop.time()
    for number in range(1, many + 1):
        await bench.put({}, number, _MANY_CYCLE_MS)
    least = many + 1 if bench.rig.most is None else min(many + 1, bench.rig.most)
    await bench.edge.until(
        lambda: _all_told(bench, least, many + 1), _MANY_SECONDS, f"{least} of {many} devices report"
    )
    if least > many:
        bench.notes.append(f"{many} devices: all reported after {loop.time() - began:.1f} s")
    else:
        bench.notes.append(
            f"{many} devices: {least} reported, the others were offline, after {loop.time() - began:.1f} s"
        )
    files = (bench.descriptors() - files) / many
    bench.notes.append(f"{1024 * (bench.memory() - before) / many:.0f} KiB and {files:.2g} files each")
    for number in range(1, many + 1):
        await bench.edge.remove(name_of(number))
    await bench.all_reported("the one that is left")


async def _ends(bench: Bench) -> None:
    await bench.kill(signal.SIGTERM)
    if bench.process is None or bench.process.returncode not in (0, 130, 143):
        raise DeviceError(f"SIGTERM ended it with {bench.process and bench.process.returncode}")


CHECKS: tuple[Check, ...] = (
    Check("values are read, with type, time and state", _reads),
    Check("wishes are set and read back", _writes),
    Check("wishes that cannot be are refused, and why is reported", _refuses),
    Check("device that ignores wishes", _ignores, "deaf"),
    Check("slow device", _slow, "slow"),
    Check("absent device", _absent, "absent"),
    Check("flapping device", _flapping, "absent"),
    Check("wrong values", _nonsense, "nonsense"),
    Check("restart in mid-write", _restart),
    Check("a thousand devices", _many),
    Check("ends when told to", _ends),
)


def _all_told(bench: Bench, least: int, many: int) -> bool:
    """Whether so many have values, and all others are said to be offline."""
    valued = {name for name, _ in bench.edge.latest}
    return (
        len(valued) >= least
        and len(valued | {name for name, one in bench.edge.states.items() if one == "offline"}) >= many
    )


def _point(bench: Bench, name: str) -> Point:
    return next(point for point in bench.rig.points if point.name == name)


def _settable(bench: Bench) -> list[Point]:
    return [point for point in bench.rig.points if len(point.wishes) > 1]


def _wrong(point: Point) -> list[str]:
    """Values that the model does not allow."""
    number = point.type in ("INT", "FLOAT", "DOUBLE")
    over = [str(int(float(point.maximum)) + 1)] if number and point.maximum else []
    return [*over, "not-a-value"] if number or point.type == "BOOLEAN" else over


async def _told(bench: Bench, point: Point, value: str, wish: str, what: str) -> None:
    """Return when the value is reported, with a reason that names the wish, or without one when there is none."""

    def so() -> bool:
        said = bench.edge.latest.get((name_of(0), point.name))
        if said is None or not values.same(said.value, value, point.type):
            return False
        reason = said.metadata.get("reason", "")
        return wish in reason if wish else not reason

    await bench.edge.until(so, bench.seconds, f"{point.name} {what}")


async def _refused(bench: Bench, point: Point, wish: str) -> None:
    def so() -> bool:
        said = bench.edge.latest.get((name_of(0), point.name))
        return said is not None and wish in said.metadata.get("reason", "")

    await bench.edge.until(so, bench.seconds, f"{point.name}: why {wish!r} cannot be is reported")
