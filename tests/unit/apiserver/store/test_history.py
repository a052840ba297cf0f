"""Cursors over the recent changes: what is handed on at once, what wakes who waits; nothing is lost between them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.apiserver.store.history import BATCH, TOLD_AT_ONCE, Follower, History
from octoedge.errors import ApiError
from octoedge.kube.read import Change, Item
from octoedge.testing.clock import run


def publish(history: History, *versions: int) -> None:
    for version in versions:
        history.append(Change("ADDED", Item("ns", f"n{version}", version, b"{}")))
    history.publish()


def follower(history: History, after: int = 0) -> Follower:
    return Follower(history, after, lambda: 0)


class Hand:
    """Takes changes, or leaves them to who waits, as it is told."""

    def __init__(self, *takes: bool) -> None:
        self.seen: list[int] = []
        self._takes = list(takes)

    def __call__(self, changes: Sequence[Change]) -> bool:
        taken = self._takes.pop(0) if self._takes else True
        if taken:
            self.seen += [change.version for change in changes]
        return taken


async def turns(count: int = 4) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_what_a_hand_takes_wakes_nobody_and_is_not_returned_again() -> None:
    async def main() -> None:
        history, hand = History(), Hand(True, False)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(follower(history).next(hand), name="waiting")
            await turns()
            publish(history, 1, 2)
            await turns()
            assert (hand.seen, waiting.done()) == ([1, 2], False)
            publish(history, 3)
            assert [change.version for change in await waiting] == [3]

    run(main())


def test_a_place_moves_with_what_was_taken_although_the_wait_was_cancelled() -> None:
    async def main() -> None:
        history, hand = History(), Hand()
        cursor = follower(history)
        waiting = asyncio.ensure_future(cursor.next(hand))
        await turns()
        publish(history, 1)
        await turns()
        waiting.cancel()
        await asyncio.wait([waiting])
        publish(history, 2)
        assert [change.version for change in await cursor.next(hand)] == [2]
        assert hand.seen == [1]

    run(main())


@given(st.lists(st.tuples(st.integers(1, 3 * BATCH), st.integers(0, 4)), max_size=12), st.lists(st.booleans()))
def test_every_change_once_and_in_order_however_hands_refuse(steps: list[tuple[int, int]], takes: list[bool]) -> None:
    async def main() -> None:
        history, hand = History(), Hand(*takes)
        total = sum(count for count, _ in steps)

        async def follow() -> None:
            cursor = follower(history)
            while len(hand.seen) < total:
                try:
                    async with asyncio.timeout(1):
                        hand.seen += [change.version for change in await cursor.next(hand)]
                except TimeoutError:
                    pass

        async with asyncio.TaskGroup() as group:
            group.create_task(follow(), name="following")
            version = 0
            for count, pause in steps:
                publish(history, *range(version + 1, version + count + 1))
                version += count
                await turns(pause)
        assert hand.seen == list(range(1, total + 1))

    run(main())


def test_many_are_told_in_parts_and_others_have_their_turn_in_between() -> None:
    async def main() -> None:
        history = History()
        hands = [Hand() for _ in range(3 * TOLD_AT_ONCE)]
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(follower(history).next(hand), name="waiting") for hand in hands]
            await turns()
            publish(history, 1)
            counts = []
            for version in range(2, 5):
                await turns(1)
                counts.append(sum(bool(hand.seen) for hand in hands))
                publish(history, version)  # and those who were not told yet are not put back behind the others
            assert counts == [TOLD_AT_ONCE, 2 * TOLD_AT_ONCE, 3 * TOLD_AT_ONCE]
            await turns(8)
            assert all(hand.seen == [1, 2, 3, 4] for hand in hands)
            for task in waiting:
                task.cancel()

    run(main())


def test_a_hand_that_fails_ends_its_own_watch_only() -> None:
    async def main() -> None:
        def broken(changes: Sequence[Change]) -> bool:
            raise ValueError(f"{len(changes)} too many")

        history, hand = History(), Hand()
        failing = asyncio.ensure_future(follower(history).next(broken))
        well = asyncio.ensure_future(follower(history).next(hand))
        await turns()
        publish(history, 1)
        with pytest.raises(ValueError, match="1 too many"):
            await failing
        await turns()
        assert hand.seen == [1]
        well.cancel()
        await asyncio.wait([well])

    run(main())


def test_who_follows_what_was_replaced_is_told_to_begin_anew() -> None:
    async def main() -> None:
        history = History()
        waiting = asyncio.ensure_future(follower(history).next(Hand()))
        await turns()
        history.end()
        with pytest.raises(ApiError) as caught:
            await waiting
        assert caught.value.code == 410

    run(main())
