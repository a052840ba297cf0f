from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from octoedge.edge.telemetry.settings import Settings
from octoedge.errors import StoreError
from octoedge.testing.clock import run
from octoedge.testing.telemetry import World

DEVICE = "default/thermometer"
START = 1_790_000_000_000


def played(tmp_path: Path, body: Callable[[World], Awaitable[None]], settings: Settings | None = None) -> None:
    """`body` in a world whose tasks end with it."""

    async def play() -> None:
        async with asyncio.TaskGroup() as group:
            world = World(tmp_path, group, settings)
            await body(world)
            await world.kill_edge()
            await world.kill_cloud()

    run(play())


async def say(world: World, first: int, count: int, name: str = "temperature") -> None:
    """Values that are their own numbers."""
    assert world.edge is not None
    for number in range(first, first + count):
        await world.edge.keep(DEVICE, {name: (str(number), START + number * 1000)})


def numbers(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last + 1)]


def test_what_is_said_is_in_the_cloud_and_gone_from_the_node(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.start_cloud()
        edge = await world.start_edge()
        await say(world, 1, 10_000)
        await asyncio.sleep(60)
        (account,) = world.accounts()
        assert (account.sent, account.stored, account.waiting, account.gaps) == (10_000, 10_000, 0, [])
        assert world.history() == numbers(1, 10_000)
        health = edge.health()
        assert health is not None
        assert (health["state"], health["waiting"], health["numbered"]) == ("sends", 0, 10_000)

    played(tmp_path, body)


def test_only_declared_properties_are_kept_and_a_node_without_any_makes_no_file(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.start_cloud()
        edge = await world.start_edge("temperature")
        edge.declare(DEVICE, frozenset())
        await say(world, 1, 1)
        assert edge.health() is None or edge.health()["streams"] == 0  # type: ignore[index]
        edge.declare(DEVICE, frozenset({"temperature"}))
        await say(world, 1, 3)
        await say(world, 1, 3, "humidity")
        await asyncio.sleep(30)
        assert [account.stream for account in world.accounts()] == [f"{DEVICE}/temperature"]

    played(tmp_path, body)


def test_the_same_report_said_again_counts_once(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.start_cloud()
        edge = await world.start_edge()
        for _ in range(3):
            await edge.keep(DEVICE, {"temperature": ("20", START)})
        await edge.keep(DEVICE, {"temperature": ("20", START + 1)})
        for _ in range(2):
            await edge.keep(DEVICE, {"temperature": ("20", 0)})  # without a time each one is a value
        await asyncio.sleep(30)
        assert len(world.history()) == 4

    played(tmp_path, body)


def test_a_cloud_of_kubeedge_is_sent_nothing_and_the_status_says_so(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.road.agrees = False
        edge = await world.start_edge()
        await say(world, 1, 10)
        await asyncio.sleep(600)
        assert world.road.batches == []
        health = edge.health()
        assert health is not None
        assert health["waiting"] == 10
        assert "keeps no telemetry" in health["state"]
        world.road.cut()
        world.road.agrees = True
        await world.start_cloud()
        world.road.mend()
        await asyncio.sleep(30)
        assert world.history() == numbers(1, 10)

    played(tmp_path, body)


def test_a_full_outbox_drops_the_declared_first_and_the_gap_says_how_many_and_why(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "edge.db", max_bytes=256 << 10, drop_first=("*/humid*",))

    async def body(world: World) -> None:
        world.road.cut()
        await world.start_cloud()
        edge = await world.start_edge()
        await say(world, 1, 3000)
        for burst in range(10):
            await say(world, 1 + burst * 1000, 1000, "humidity")
        health = edge.health()
        assert health is not None
        assert health["dropped"] > 1000
        world.road.mend()
        await asyncio.sleep(600)
        by_name = {account.stream.rpartition("/")[2]: account for account in world.accounts()}
        assert (by_name["temperature"].stored, by_name["temperature"].gaps) == (3000, [])
        humidity = by_name["humidity"]
        ((first, last, why),) = humidity.gaps
        assert first == 1
        assert last == health["dropped"] == humidity.sent - humidity.stored
        assert "maxMiB" in why
        assert world.history("humidity") == numbers(last + 1, 10_000)

    played(tmp_path, body, settings)


def test_what_is_dropped_first_is_gone_wholly_before_the_next_is_touched_and_then_the_oldest_of_all(
    tmp_path: Path,
) -> None:
    settings = Settings(tmp_path / "edge.db", max_bytes=128 << 10, drop_first=("*/noise", "*/humid*"))

    async def body(world: World) -> None:
        world.road.cut()
        await world.start_cloud()
        edge = await world.start_edge()
        names = ("temperature", "pressure", "humidity", "noise")
        seen: list[tuple[int, ...]] = []
        for burst in range(40):
            for name in names[: 4 if burst < 3 else 2]:
                await say(world, 1 + burst * 128, 128, name)
            seen.append(tuple(world.held(name) for name in names))
        assert seen[0] == (128, 128, 128, 128)  # nothing is dropped before the limit
        touched = [next(at for at in range(1, 40) if seen[at][of] < seen[at - 1][of]) for of in (3, 2, 0)]
        assert touched[0] <= touched[1] < touched[2]
        for before, after in itertools.pairwise(seen):
            if after[2] < before[2]:
                assert after[3] == 0
            if after[0] < before[0] or after[1] < before[1]:
                assert after[2:] == (0, 0)
                assert abs(after[0] - after[1]) <= 500 + 128  # the oldest of both, some at a time
        health = edge.health()
        assert health is not None
        assert health["bytes"] <= settings.max_bytes + (32 << 10)
        world.road.mend()
        await asyncio.sleep(600)
        for account in world.accounts():
            ((first, last, why),) = account.gaps
            assert (first, last) == (1, account.sent - account.stored)
            assert why == "the outbox was full: 131072 bytes (octoedge.telemetry.maxMiB)"

    played(tmp_path, body, settings)


def test_what_is_dropped_while_its_batch_is_under_way_is_no_gap_when_the_cloud_has_it(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "edge.db", max_bytes=64 << 10)

    async def body(world: World) -> None:
        await world.start_cloud()
        await world.start_edge()
        await say(world, 1, 300)
        world.road.loses_answers = True
        await asyncio.sleep(6)
        (account,) = world.accounts()
        assert account.stored == 300
        await say(world, 301, 3000)
        assert world.held("temperature") < 3000
        world.road.loses_answers = False
        await asyncio.sleep(600)
        (account,) = world.accounts()
        ((first, last, _),) = account.gaps
        assert first == 301
        assert world.history() == [*numbers(1, 300), *numbers(last + 1, 3300)]

    played(tmp_path, body, settings)


def test_an_annotation_that_was_away_leaves_no_gap_and_names_of_another_namespace_are_others(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.devices["plant/thermometer"] = frozenset({"*"})
        world.owners[("plant", "thermometer")] = "edge-1"
        await world.start_cloud()
        edge = await world.start_edge()
        await say(world, 1, 10)
        edge.declare(DEVICE, frozenset())
        await say(world, 11, 10)
        await edge.keep("plant/thermometer", {"temperature": ("1", START)})
        edge.declare(DEVICE, frozenset({"temperature"}))
        await say(world, 21, 10)
        await asyncio.sleep(30)
        assert world.history() == [*numbers(1, 10), *numbers(21, 30)]
        assert world.history(device="plant/thermometer") == ["1"]
        assert [(one.sent, one.stored, one.gaps) for one in world.accounts()] == [(20, 20, []), (1, 1, [])]

    played(tmp_path, body)


def test_a_node_that_joins_again_under_its_name_begins_anew_and_the_audit_says_what_it_had(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.start_cloud()
        await world.start_edge()
        await say(world, 1, 10)
        await asyncio.sleep(30)
        world.road.loses_answers = True
        await say(world, 11, 10)
        await asyncio.sleep(6)  # the cloud has them, and knows how many there were
        world.road.cut()
        await say(world, 21, 10)
        await world.kill_edge()
        for file in world.settings.path.parent.glob("telemetry.db*"):
            file.unlink()
        world.road.loses_answers = False
        world.road.mend()
        await world.start_edge()
        await say(world, 31, 10)
        await asyncio.sleep(30)
        assert world.history() == [*numbers(1, 20), *numbers(31, 40)]
        assert [(one.sent, one.stored, one.waiting) for one in world.accounts()] == [(20, 20, 0), (10, 10, 0)]

    played(tmp_path, body)


def test_values_that_are_too_old_are_a_gap_but_not_those_of_a_clock_that_was_never_set(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "edge.db", max_seconds=86400.0)

    async def body(world: World) -> None:
        world.road.cut()
        await world.start_cloud()
        world.clock.shift(-world.clock.now() + 1000)  # 1970
        await world.start_edge()
        await say(world, 1, 5, "early")
        world.clock.shift(1_790_000_000)
        await say(world, 1, 5)
        world.clock.shift(2 * 86400)
        await say(world, 6, 5)
        await asyncio.sleep(120)
        world.road.mend()
        await asyncio.sleep(60)
        by_name = {account.stream.rpartition("/")[2]: account for account in world.accounts()}
        assert by_name["early"].gaps == []
        ((first, last, why),) = by_name["temperature"].gaps
        assert (first, last) == (1, 5)
        assert "maxDays" in why
        assert world.history() == numbers(6, 10)

    played(tmp_path, body, settings)


def test_a_damaged_outbox_begins_anew_and_the_audit_says_what_it_had(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.start_cloud()
        await world.start_edge()
        await say(world, 1, 10)
        await asyncio.sleep(30)
        await world.kill_edge()
        for file in world.settings.path.parent.glob("telemetry.db-*"):
            file.unlink()
        world.settings.path.write_bytes(b"garbage" * 1000)
        await world.start_edge()
        await asyncio.sleep(1)
        await say(world, 11, 10)
        await asyncio.sleep(30)
        assert world.history() == numbers(1, 20)
        assert [(account.sent, account.gaps) for account in world.accounts()] == [(10, []), (10, [])]
        assert list(world.settings.path.parent.glob("*corrupt*"))

    played(tmp_path, body)


def test_a_stream_of_another_nodes_device_is_refused_waits_and_holds_up_no_other(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.start_cloud()
        edge = await world.start_edge()
        edge.declare("default/foreign", frozenset({"*"}))
        world.owners[("default", "foreign")] = "edge-2"
        await edge.keep("default/foreign", {"temperature": ("1", START)})
        await say(world, 1, 5)
        await asyncio.sleep(60)
        assert [account.stream for account in world.accounts()] == [f"{DEVICE}/temperature"]
        world.owners[("default", "foreign")] = "edge-1"
        await asyncio.sleep(900)
        assert len(world.accounts()) == 2

    played(tmp_path, body)


def test_what_waited_of_a_device_that_went_is_stored_while_the_cloud_remembers_it(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.owners, world.former = {}, {("default", "thermometer"): "edge-1"}
        await world.start_cloud()
        edge = await world.start_edge()
        await say(world, 1, 9_000)
        edge.declare(DEVICE, frozenset())
        await asyncio.sleep(60)
        (account,) = world.accounts()
        assert (account.sent, account.stored, account.gaps) == (9_000, 9_000, [])
        assert world.history() == numbers(1, 9_000)
        assert world.held("temperature") == 0

    played(tmp_path, body)


def test_what_waited_of_a_device_that_nobody_knows_is_not_stored_but_counted(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.owners, world.devices_known = {}, False
        await world.start_cloud()
        edge = await world.start_edge()
        await say(world, 1, 9_000)
        edge.declare(DEVICE, frozenset())
        await asyncio.sleep(60)
        assert (world.accounts(), world.held("temperature")) == ([], 9_000), "the cloud has not read its Devices yet"
        world.devices_known = True
        await asyncio.sleep(600)
        (account,) = world.accounts()
        assert (account.sent, account.stored, account.waiting, account.node) == (9_000, 0, 0, "edge-1")
        [(first, last, why)] = account.gaps
        assert (first, last) == (1, 9_000)
        assert why.startswith("when they came there was no Device default/thermometer that names node edge-1")
        assert world.held("temperature") == 0
        assert world.history() == []
        world.owners = {("default", "thermometer"): "edge-1"}
        edge.declare(DEVICE, frozenset({"*"}))
        await say(world, 9_001, 10)
        await asyncio.sleep(60)
        assert world.history() == numbers(9_001, 9_010), "the Device is there again"
        (account,) = world.accounts()
        assert (account.stored, len(account.gaps)) == (10, 1)

    played(tmp_path, body)


def test_a_store_without_room_says_so_until_there_is_some(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.start_cloud()
        await world.start_edge()
        cloud = world.road.cloud
        assert cloud is not None
        world.fill(edge=False, cloud=True)
        await say(world, 1, 100)
        await asyncio.sleep(60)
        assert "full" in cloud.trouble
        assert world.held("temperature") == 100
        world.fill(edge=False, cloud=False)
        await asyncio.sleep(120)
        assert (cloud.trouble, world.history()) == ("", numbers(1, 100))

    played(tmp_path, body)


def test_a_store_that_cannot_be_opened_ends_nothing_and_is_tried_again(tmp_path: Path) -> None:
    in_the_way = tmp_path / "cloud" / "telemetry.db"

    async def body(world: World) -> None:
        in_the_way.mkdir(parents=True)
        await world.start_cloud()
        await world.start_edge()
        await say(world, 1, 10)
        await asyncio.sleep(60)
        cloud = world.road.cloud
        assert cloud is not None
        assert str(in_the_way) in cloud.trouble
        with pytest.raises(StoreError, match=r"telemetry cannot be read: .*telemetry\.db"):
            assert cloud.database
        in_the_way.rmdir()
        await asyncio.sleep(120)
        assert (cloud.trouble, world.history()) == ("", numbers(1, 10))

    played(tmp_path, body)


def test_an_outbox_that_cannot_be_opened_refuses_values_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "edge").write_text("a file where the folder should be")

    async def body(world: World) -> None:
        edge = await world.start_edge()
        with pytest.raises(StoreError, match="not open"):
            await edge.keep(DEVICE, {"temperature": ("20", START)})

    played(tmp_path, body)


class Weather:
    """What happens to a world, by chance, while its mapper speaks; it says again what was not taken."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = world.road.rng = random.Random(seed)
        self.said = 0

    async def speak(self) -> None:
        number = self.said + 1
        if self.world.edge is None:
            return
        telling = self.world.edge.keep(DEVICE, {"temperature": (str(number), START + number * 1000)})
        task = asyncio.ensure_future(telling)
        await asyncio.wait([task], timeout=6)
        if task.done() and task.exception() is None:
            self.said = number
        task.cancel()

    async def change(self) -> None:
        self.world.road.loses = self.rng.choice((0.0, 0.0, 0.3, 0.8))
        await self.rng.choice((self.cut, self.mend, self.mend, self.edge, self.cloud, self.both, self.quiet))()
        await asyncio.sleep(self.rng.choice((0, 1, 6, 70)))

    async def cut(self) -> None:
        self.world.road.cut()

    async def mend(self) -> None:
        self.world.road.mend()

    async def quiet(self) -> None:
        """Nothing happens."""

    async def edge(self) -> None:
        talk = asyncio.ensure_future(self.speak())
        for _ in range(self.rng.randrange(6)):
            await asyncio.sleep(0)
        await self.world.kill_edge()
        await talk
        await self.world.start_edge()

    async def cloud(self) -> None:
        await self.world.kill_cloud()
        await asyncio.sleep(self.rng.random() * 100)
        await self.world.start_cloud()

    async def both(self) -> None:
        await self.edge()
        await self.cloud()


@pytest.mark.parametrize("seed", range(12))
def test_random_cuts_losses_and_kills_leave_no_gap_and_no_duplicate(tmp_path: Path, seed: int) -> None:
    async def body(world: World) -> None:
        weather = Weather(world, seed)
        await world.start_cloud()
        await world.start_edge()
        for _ in range(60):
            for _ in range(weather.rng.randrange(80)):
                await weather.speak()
            await weather.change()
        world.road.loses = 0.0
        world.road.mend()
        await asyncio.sleep(600)
        said = weather.said
        (account,) = world.accounts()
        assert said > 1000
        assert world.history() == numbers(1, said)
        assert (account.sent, account.stored, account.waiting) == (said, said, 0)
        assert (account.gaps, account.duplicates) == ([], 0)

    played(tmp_path, body)
