"""Bounded channels: order, room, closing."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octoedge.runtime.channel import ChannelClosed, Overflow, Receiver, Sender, channel
from octoedge.testing.clock import run


def made(capacity: int, overflow: Overflow = Overflow.WAIT) -> tuple[Sender[int], Receiver[int]]:
    ends: tuple[Sender[int], Receiver[int]] = channel("test", capacity, overflow)
    return ends


async def rest(receiver: Receiver[int]) -> list[int]:
    return [item async for item in receiver]


def test_a_sender_waits_for_room() -> None:
    async def main() -> None:
        sender, receiver = made(2)
        await sender.send(1)
        await sender.send(2)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sender.send(3), 10)
        assert len(receiver) == 2
        assert await receiver.receive() == 1
        await sender.send(3)
        await sender.close()
        assert await rest(receiver) == [2, 3]

    run(main())


def test_where_the_newest_matters_the_oldest_goes() -> None:
    async def main() -> None:
        sender, receiver = made(2, Overflow.DROP_OLDEST)
        for number in range(5):
            await sender.send(number)
        assert sender.dropped == 3
        await sender.close()
        assert await rest(receiver) == [3, 4]

    run(main())


def test_closing_either_end_ends_both() -> None:
    async def main() -> None:
        for close_sender in (True, False):
            sender, receiver = made(1)
            await sender.send(1)
            blocked = asyncio.create_task(sender.send(2))
            await asyncio.sleep(1)
            await (sender if close_sender else receiver).close()
            with pytest.raises(ChannelClosed, match="channel test is closed"):
                await blocked
            with pytest.raises(ChannelClosed):
                await sender.send(3)
            assert await receiver.receive() == 1
            with pytest.raises(ChannelClosed):
                await receiver.receive()

    run(main())


def test_a_receiver_that_waits_is_woken_by_an_item_and_by_the_end() -> None:
    async def main() -> None:
        sender, receiver = made(1)
        waiting = asyncio.create_task(rest(receiver))
        for number in range(3):
            await asyncio.sleep(1)
            await sender.send(number)
        await sender.close()
        assert await waiting == [0, 1, 2]

    run(main())


def test_a_receiver_that_is_cancelled_takes_nothing_with_it() -> None:
    async def main() -> None:
        sender, receiver = made(1)
        waiting = asyncio.create_task(receiver.receive())
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.wait([waiting])
        await sender.send(1)
        assert await receiver.receive() == 1

    run(main())


def test_a_channel_without_room_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="needs room for at least one item"):
        made(0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(), max_size=50), st.integers(1, 5), st.integers(1, 4))
def test_nothing_is_lost_doubled_or_reordered(items: list[int], capacity: int, senders: int) -> None:
    async def main() -> None:
        sender, receiver = made(capacity)

        async def send(own: list[int]) -> None:
            for item in own:
                await sender.send(item)

        shares = [items[number::senders] for number in range(senders)]
        collecting = asyncio.create_task(rest(receiver))
        async with asyncio.TaskGroup() as group:
            for share in shares:
                group.create_task(send(share))
        await sender.close()
        received = await collecting
        assert sorted(received) == sorted(items)
        if senders == 1:
            assert received == items

    run(main())
