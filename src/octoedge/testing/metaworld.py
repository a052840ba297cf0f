"""One node's MetaManager on a real SQLite file, before a cloud that is a table."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from octoedge.edge.metamanager.metamanager import MetaManager
from octoedge.edge.metamanager.schema import open_store
from octoedge.edge.ports import Change
from octoedge.protocol import routes
from octoedge.protocol.message import Header, Message, Route
from octoedge.runtime.channel import Receiver, Sender, channel
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.inline import InlineDatabase


class World:
    """What a test plays with."""

    def __init__(self, path: Path, cloud: CloudLink) -> None:
        self.cloud = cloud
        self.clock = VirtualClock()
        self.store = open_store(path, 0.0, InlineDatabase.open)
        ends: tuple[Sender[Change], Receiver[Change]] = channel("changes", 1000)
        sender, self._receiver = ends
        self.meta = MetaManager(self.store, cloud, self.clock, sender)
        self._ids = itertools.count(1)

    async def push(self, operation: str, path: str, content: Any, version: str = "") -> str:
        """Hand in a message of the cloud as EdgeHub does; returns its id."""
        message_id = f"p{next(self._ids)}"
        message = Message(
            Header(msg_id=message_id, resourceversion=version),
            Route(source="edgecontroller", group="resource", operation=operation, resource=path),
            msgspec.Raw(msgspec.json.encode(content)),
        )
        await self.meta.receive(message, routes.classify(routes.Direction.DOWN, message))
        return message_id

    async def changes(self) -> list[Change]:
        """What edged has been told since the last call."""
        return [await self._receiver.receive() for _ in range(len(self._receiver))]

    async def stored(self, kind: str) -> list[dict[str, Any]]:
        return [msgspec.json.decode(value) for value in await self.meta.list(kind)]


Play = Callable[[World], Awaitable[None]]


class Player:
    """Runs tests in virtual time with MetaManager running; each call is a restart on the same file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(
        self, test: Play, *, connected: bool = True, ours: bool = True, cloud: CloudLink | None = None
    ) -> None:
        async def main() -> None:
            world = World(self.path, cloud or CloudLink(connected=connected, ours=ours))
            try:
                async with asyncio.TaskGroup() as group:
                    running = group.create_task(world.meta.run(lambda: None))
                    await test(world)
                    running.cancel()
            finally:
                world.meta.close()

        run(main())


def pod(name: str = "web", uid: str = "u1", version: str = "10", **metadata: Any) -> dict[str, Any]:
    """A pod as the cloud sends it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": uid, "resourceVersion": version, **metadata},
        "spec": {"nodeName": "edge-1"},
    }
