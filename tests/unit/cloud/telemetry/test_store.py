from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.cloud.telemetry import store
from octoedge.protocol.telemetry import Gap, Section, pack

DAY = 86_400_000


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    made = new()
    yield made
    made.close()


def new() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.executescript("".join(store.MIGRATIONS))
    return made


def section(
    first: int, last: int, *, gaps: list[Gap] | None = None, numbered: int = 0, epoch: str = "e", since: int = 1 << 40
) -> Section:
    """Values that are their own numbers, a second apart; those from `since` on are a thousand more."""
    numbers = range(first, last + 1)
    texts = [str(number if number < since else number + 1000) for number in numbers]
    column = pack([number * 1000 for number in numbers], texts)
    return Section("default/x", "t", epoch, first, max(last, numbered), gaps or [], column)


def held(connection: sqlite3.Connection) -> list[int]:
    found = store.history(connection, "default/x", "t", 0, 1 << 53)
    return [int(value) for value in found.values] if found else []


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 30), st.booleans()), max_size=12))
def test_whatever_is_sent_again_is_there_once(sendings: list[tuple[int, int, bool]]) -> None:
    """A node goes on from some number that it had sent, or from the next; never beyond."""
    connection, sent = new(), 0
    for back, count, again in sendings:
        first = max(1, sent + 1 - back) if again else sent + 1
        store.take(connection, "edge-1", section(first, first + count - 1), 0)
        sent = max(sent, first + count - 1)
    assert held(connection) == list(range(1, sent + 1))
    for account in store.accounts(connection):
        assert (account.sent, account.stored, account.duplicates, account.gaps) == (sent, sent, 0, [])
    connection.close()


def test_what_the_node_dropped_is_a_gap_with_its_reason(connection: sqlite3.Connection) -> None:
    store.take(connection, "edge-1", section(1, 10), 0)
    store.take(connection, "edge-1", section(21, 30, gaps=[Gap(6, 15, "full"), Gap(16, 20, "old")]), 0)
    (account,) = store.accounts(connection)
    assert account.gaps == [(11, 15, "full"), (16, 20, "old")]
    assert (account.sent, account.stored, account.duplicates) == (30, 20, 0)


def test_what_nobody_explains_is_a_gap_too(connection: sqlite3.Connection) -> None:
    store.take(connection, "edge-1", section(101, 110), 0)
    store.take(connection, "edge-1", section(121, 130, gaps=[Gap(115, 120, "full")]), 0)
    (account,) = store.accounts(connection)
    assert [gap[:2] for gap in account.gaps] == [(1, 100), (111, 114), (115, 120)]
    assert "another store" in account.gaps[0][2]


def test_a_block_that_is_gone_from_the_store_is_found(connection: sqlite3.Connection) -> None:
    store.take(connection, "edge-1", section(1, 4096), 0)
    store.take(connection, "edge-1", section(4097, 8192), 0)
    store.take(connection, "edge-1", section(8193, 8200), 0)
    connection.execute("DELETE FROM block WHERE first = 4097")
    (account,) = store.accounts(connection)
    assert account.gaps == [(4097, 8192, "not in the store, although the node was told that they are")]


def test_a_block_that_is_there_twice_is_found(connection: sqlite3.Connection) -> None:
    store.take(connection, "edge-1", section(1, 4096), 0)
    store.take(connection, "edge-1", section(4097, 4100), 0)
    connection.execute("UPDATE block SET first = 4090 WHERE first = 4097")
    (account,) = store.accounts(connection)
    assert account.duplicates == 4


def test_what_waits_on_the_node_is_no_gap_until_its_outbox_begins_anew(connection: sqlite3.Connection) -> None:
    store.take(connection, "edge-1", section(1, 10, numbered=25), 0)
    (account,) = store.accounts(connection)
    assert (account.sent, account.stored, account.waiting, account.gaps) == (25, 10, 15, [])
    store.take(connection, "edge-1", section(1, 5, epoch="f"), 0)
    first, second = store.accounts(connection)
    assert first.gaps == [(11, 25, "the node's outbox was lost, set back or begun anew")]
    assert second.gaps == []


def test_a_device_that_moved_leaves_what_waits_on_its_old_node(connection: sqlite3.Connection) -> None:
    store.take(connection, "edge-1", section(1, 10, numbered=25), 0)
    store.take(connection, "edge-2", section(1, 5, epoch="f"), 0)
    first, second = store.accounts(connection)
    assert (first.waiting, first.gaps, second.gaps) == (15, [], [])
    assert store.streams_of(connection, "edge-1") == 1


def test_small_batches_become_few_blocks(connection: sqlite3.Connection) -> None:
    for first in range(1, 20_001, 5):
        store.take(connection, "edge-1", section(first, first + 4), 0)
    counts = [count for (count,) in connection.execute("SELECT count FROM block ORDER BY first")]
    assert sum(counts) == 20_000
    assert len(counts) < 25
    assert held(connection) == list(range(1, 20_001))


def test_the_latest_of_too_many_are_given(connection: sqlite3.Connection) -> None:
    store.take(connection, "edge-1", section(1, 4000), 0)
    found = store.history(connection, "default/x", "t", 1_000_000, 3_000_000, 100)
    assert found is not None
    assert found.cut
    assert found.values == [str(number) for number in range(2901, 3001)]
    assert store.history(connection, "default/x", "other", 0, 1) is None


def test_what_is_too_old_is_forgotten_and_the_audit_stays_whole(connection: sqlite3.Connection) -> None:
    for day in range(4):
        store.take(connection, "edge-1", section(day * 4096 + 1, day * 4096 + 4096), day * DAY)
    assert store.forget(connection, 2 * DAY, 1 << 40) == 2
    (account,) = store.accounts(connection)
    assert (account.sent, account.stored, account.forgotten) == (4 * 4096, 2 * 4096, 2 * 4096)
    assert account.gaps == []
    store.take(connection, "edge-1", section(1, 100), 5 * DAY)
    assert store.accounts(connection)[0].stored == 2 * 4096


def test_the_oldest_of_too_much_is_forgotten(connection: sqlite3.Connection) -> None:
    rng = random.Random(1)
    for part in range(40):
        texts = [f"{rng.random():.9f}" for _ in range(4000)]
        column = pack([part * 4_000_000 + number * 1000 for number in range(4000)], texts)
        store.take(
            connection, "e", Section("default/x", "t", "e", part * 4000 + 1, part * 4000 + 4000, [], column), part
        )
    most = store.used(connection) // 2
    assert store.forget(connection, 0, most) > 0
    assert store.used(connection) <= most
    (account,) = store.accounts(connection)
    assert account.stored + account.forgotten == account.sent
    assert account.gaps == []


def test_an_export_reads_on_from_any_number(connection: sqlite3.Connection) -> None:
    for first in range(1, 10_001, 100):
        store.take(connection, "edge-1", section(first, first + 99), 0)
    at, seen = 0, []
    for _ in itertools.count():
        upto, times, texts = store.after(connection, 1, at, 777)
        if not times:
            break
        assert upto == at + len(times)
        seen += [int(text) for text in texts]
        at = upto
    assert seen == list(range(1, 10_001))


def test_what_is_forgotten_is_the_beginning_also_when_the_clock_was_set_back_meanwhile(
    connection: sqlite3.Connection,
) -> None:
    store.take(connection, "edge-1", section(1, 4096), 50 * DAY)
    store.take(connection, "edge-1", section(4097, 8192), 10 * DAY)
    store.take(connection, "edge-1", section(8193, 8200), 60 * DAY)
    assert store.forget(connection, 20 * DAY, 1 << 30) == 2
    assert held(connection) == [*range(8193, 8201)]
    (account,) = store.accounts(connection)
    assert (account.sent, account.stored, account.forgotten) == (8200, 8, 8192)
    assert (account.gaps, account.duplicates) == ([], 0)


def test_an_audit_is_of_devices_that_are_gone_too_and_tells_namespaces_apart(connection: sqlite3.Connection) -> None:
    for number, device in enumerate(("plant/x", "default/x"), 1):
        column = pack([1000], [str(number)])
        store.take(connection, "edge-1", Section(device, "t", f"e{number}", 1, 1, [], column), 0)
    assert [(one.stream, one.stored) for one in store.accounts(connection)] == [("default/x/t", 1), ("plant/x/t", 1)]
    assert store.names(connection) == [("default/x", "t"), ("plant/x", "t")]
    assert held(connection) == [2]


def test_a_node_that_was_set_back_and_gives_numbers_again_loses_nothing(connection: sqlite3.Connection) -> None:
    store.take(connection, "edge-1", section(1, 200, numbered=210), 0)
    store.take(connection, "edge-1", section(91, 150, numbered=160, since=121), 0)  # an image of when it had 120
    store.take(connection, "edge-1", section(151, 160, since=121), 0)
    store.take(connection, "edge-1", section(151, 160, since=121), 0)
    old, new = store.accounts(connection)
    assert (old.sent, old.stored) == (210, 200)
    assert old.gaps == [(201, 210, "the node's outbox was lost, set back or begun anew")]
    assert (new.sent, new.stored, new.waiting, new.gaps, new.duplicates, new.again) == (40, 40, 0, [], 0, 40)
    assert sorted(held(connection)) == [*range(1, 201), *range(1121, 1161)]
    keys = [row[0] for row in connection.execute("SELECT id FROM stream ORDER BY id")]
    assert store.after(connection, keys[1], 0, 1000)[2] == [str(number) for number in range(1121, 1161)]


def test_numbers_given_again_for_values_that_were_a_gap_are_kept(connection: sqlite3.Connection) -> None:
    store.take(connection, "edge-1", section(11, 20, gaps=[Gap(1, 10, "full")]), 0)
    store.take(connection, "edge-1", section(6, 9, since=1), 0)
    old, new = store.accounts(connection)
    assert (old.stored, old.gaps) == (10, [(1, 10, "full")])
    assert (new.sent, new.stored, new.gaps) == (4, 4, [])
