"""A watch that nodes share goes on through what passes, and says 410 when it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from octoedge.cloud.dynamiccontroller.shared import Watches, What
from octoedge.errors import ApiError
from octoedge.kube.client import WatchEvent
from octoedge.kube.kinds import CONFIGMAPS, Kind
from octoedge.protocol.application import Key
from octoedge.testing.clock import run
from octoedge.testing.kube import MemoryApi, MemoryClient

MAPS = What(Key("", "v1", "configmaps", "default"))


class Failing(MemoryClient):
    """Answers the first watches with errors."""

    def __init__(self, api: MemoryApi, *codes: int) -> None:
        super().__init__(api)
        self._codes = list(codes)

    async def watch(self, kind: Kind, namespace: str = "", **options: Any) -> AsyncIterator[WatchEvent]:
        if self._codes:
            raise ApiError(self._codes.pop(0), "Some", "not now")
        async for event in super().watch(kind, namespace, **options):
            yield event


def follow(*codes: int, size: int = 1, objects: int = 1) -> list[str]:
    """The names that a follower hears of, through these errors."""

    async def main() -> list[str]:
        api = MemoryApi()
        watches = Watches(Failing(api, *codes))
        task = asyncio.create_task(watches.run())
        await asyncio.sleep(0)
        try:
            first = asyncio.create_task(watches.follow(MAPS, 0, 60))
            await asyncio.sleep(30)
            for number in range(objects):
                obj = {"kind": "ConfigMap", "metadata": {"name": f"m{number}"}, "data": {"a": "x" * size}}
                await api.client().create(CONFIGMAPS, "default", msgspec.json.encode(obj))
            names: list[str] = []
            batch = await first
            while batch.events:
                names += [msgspec.json.decode(event.object)["metadata"]["name"] for event in batch.events]
                batch = await watches.follow(MAPS, int(batch.version), 5)
            return names
        finally:
            task.cancel()
            await asyncio.wait([task])

    return run(main())


def test_what_passes_is_waited_out() -> None:
    assert follow(503, 429, 500) == ["m0"]


def test_what_does_not_pass_sends_followers_to_list_anew() -> None:
    for code in (410, 403, 404):
        with pytest.raises(ApiError) as caught:
            follow(code)
        assert caught.value.code == 410


def test_much_comes_in_several_batches() -> None:
    assert follow(objects=6, size=300_000) == [f"m{number}" for number in range(6)]
