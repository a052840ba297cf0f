"""Many keys at once, each key in order; a key is never forgotten and never worked twice at once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octoedge.runtime.keyed import KeyedQueue
from octoedge.testing.clock import run


class Work:
    """Takes a second per key and watches over the rules."""

    def __init__(self, workers: int = 2, seconds: float = 1.0) -> None:
        self.queue: KeyedQueue[str] = KeyedQueue(self, workers=workers, name="work")
        self.workers = workers
        self.seconds = seconds
        self.running: set[str] = set()
        self.done: list[tuple[float, str]] = []
        self.fail_on = ""

    async def __call__(self, key: str) -> None:
        assert key not in self.running, "one key twice at once"
        assert len(self.running) < self.workers, "too many at once"
        self.running.add(key)
        try:
            await asyncio.sleep(self.seconds)
            if key == self.fail_on:
                raise ValueError(key)
            self.done.append((asyncio.get_running_loop().time(), key))
        finally:
            self.running.discard(key)

    async def __aenter__(self) -> Work:
        self.task = asyncio.create_task(self.queue.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


def test_keys_are_worked_side_by_side_up_to_the_limit() -> None:
    async def main() -> None:
        async with Work() as work:
            for key in "abcd":
                work.queue.add(key)
            await work.queue.idle()
            assert work.done == [(1, "a"), (1, "b"), (2, "c"), (2, "d")]

    run(main())


def test_a_key_that_waits_is_worked_once() -> None:
    async def main() -> None:
        async with Work() as work:
            for _ in range(5):
                work.queue.add("a")
            assert len(work.queue) == 1
            await work.queue.idle()
            assert work.done == [(1, "a")]

    run(main())


def test_a_key_added_while_it_is_worked_is_worked_once_more_afterwards() -> None:
    async def main() -> None:
        async with Work() as work:
            work.queue.add("a")
            await asyncio.sleep(0.5)
            work.queue.add("a")
            work.queue.add("a")
            await work.queue.idle()
            assert work.done == [(1, "a"), (2, "a")]

    run(main())


def test_a_busy_key_does_not_take_a_second_place() -> None:
    async def main() -> None:
        async with Work(workers=2, seconds=10) as work:
            work.queue.add("a")
            await asyncio.sleep(1)
            work.queue.add("a")
            work.queue.add("b")
            await work.queue.idle()
            assert work.done == [(10, "a"), (11, "b"), (20, "a")]

    run(main())


def test_of_several_later_wishes_the_earliest_counts() -> None:
    async def main() -> None:
        async with Work() as work:
            work.queue.add_later("a", 100)
            work.queue.add_later("a", 10)
            work.queue.add_later("a", 50)
            await asyncio.sleep(500)
            assert work.done == [(11, "a")]
            work.queue.add_later("b", 10)
            work.queue.add("b")
            await asyncio.sleep(500)
            assert [key for _, key in work.done] == ["a", "b"]

    run(main())


def test_a_forgotten_key_is_not_worked_even_while_it_waits_for_room() -> None:
    async def main() -> None:
        async with Work(workers=1) as work:
            for key in "abc":
                work.queue.add(key)
            work.queue.add_later("d", 1)
            await asyncio.sleep(0.5)
            for key in "bd":
                work.queue.forget(key)
            await work.queue.idle()
            assert [key for _, key in work.done] == ["a", "c"]

    run(main())


def test_forgetting_the_last_key_leaves_the_queue_idle() -> None:
    async def main() -> None:
        queue: KeyedQueue[str] = KeyedQueue(Work(), workers=1, name="x")
        queue.add("a")
        queue.forget("a")
        queue.forget("never there")
        async with asyncio.timeout(1):
            await queue.idle()

    run(main())


def test_an_error_ends_the_queue_and_the_next_run_takes_up_what_was_not_finished() -> None:
    async def main() -> None:
        work = Work()
        work.fail_on = "bad"
        for key in ("bad", "a", "b", "c"):
            work.queue.add(key)
        work.queue.add_later("later", 1000)
        with pytest.raises(ExceptionGroup) as caught:
            await work.queue.run()
        assert caught.group_contains(ValueError, match="bad")
        work.fail_on = ""
        async with work:
            await work.queue.idle()
        assert Counter(key for _, key in work.done) == Counter(["bad", "a", "b", "c", "later"])

    run(main())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "later", "forget", "wait"]), st.sampled_from("abcde"), st.integers(0, 5)),
        max_size=60,
    ),
    st.integers(1, 3),
)
def test_every_wish_is_fulfilled_whatever_happens(steps: list[tuple[str, str, int]], workers: int) -> None:
    """After any story, each key was worked at least once after the last wish for it that was not taken back."""

    async def main() -> None:
        wished: dict[str, float] = {}
        loop = asyncio.get_running_loop()
        async with Work(workers) as work:
            for step, key, number in steps:
                if step == "add":
                    work.queue.add(key)
                    wished[key] = loop.time()
                elif step == "later":
                    work.queue.add_later(key, number)
                    wished.setdefault(key, loop.time())
                elif step == "forget":
                    work.queue.forget(key)
                    wished.pop(key, None)
                else:
                    await asyncio.sleep(number / 4)
            await asyncio.sleep(100)
            await work.queue.idle()
            assert len(work.queue) == 0
            for key, since in wished.items():
                assert any(when >= since for when, done in work.done if done == key)

    run(main())
