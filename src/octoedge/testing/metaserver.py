"""A MetaServer before a real DynamicController and an API server in memory, asked without sockets, in virtual time."""

from __future__ import annotations

import asyncio
import ssl
import urllib.parse
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from octoedge.edge.metamanager.metaserver.callers import Signatures
from octoedge.edge.metamanager.metaserver.server import MetaServer, Settings
from octoedge.edge.metamanager.schema import Opened, open_store
from octoedge.kube.kinds import CONFIGMAPS
from octoedge.protocol.handshake import certificate_name
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.dynamiclink import NODE, DynamicLink
from octoedge.testing.inline import InlineDatabase
from octoedge.testing.kube import MemoryApi
from octoedge.transport.http_server import Answer, Request

MAPS = "/api/v1/namespaces/default/configmaps"
SHOWN = ("10.88.77.1", 10550)
ACCOUNT, USER = "default/reader", "system:serviceaccount:default:reader"


class Site:
    """What a test plays with."""

    def __init__(self, store: Opened, *, secure: bool = False, signatures: Signatures | None = None) -> None:
        self.api = MemoryApi()
        self.api.trusted |= {certificate_name(NODE), USER}
        self.link = DynamicLink(self.api, [ACCOUNT])
        self.clock = VirtualClock()
        self.store = store
        settings = Settings(NODE, (), ("api",), _never if secure else None, signatures, SHOWN)
        self.server = MetaServer(settings, self.link, store.database, self.clock)

    async def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        """One request, without a socket."""
        where, _, query = path.partition("?")
        named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        data = b"" if body is None else msgspec.json.encode(body)
        pairs = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        return await self.server.answer(Request(method, where, pairs, named, data))

    async def names(self, path: str = MAPS, **headers: str) -> list[str]:
        """The names in a list."""
        answer = await self.ask(path, **headers)
        assert answer.status == 200, answer.body
        return [one["metadata"]["name"] for one in decoded(answer)["items"]]

    async def make(self, name: str, **labels: str) -> dict[str, Any]:
        """A ConfigMap, made in the cloud."""
        obj = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "labels": labels}}
        made = await self.api.client().create(CONFIGMAPS, "default", msgspec.json.encode(obj))
        return dict(msgspec.json.decode(made))

    async def remove(self, name: str) -> None:
        """Delete a ConfigMap in the cloud."""
        await self.api.client().delete(CONFIGMAPS, "default", name)


class Watching:
    """A client that watches; `heard` are its events."""

    def __init__(self, answer: Answer) -> None:
        assert answer.status == 200, answer.body
        assert not isinstance(answer.body, bytes)
        self.headers = answer.headers
        self.heard: list[tuple[str, str]] = []
        """(type, name), bookmarks left out."""
        self.bookmarks = 0
        self.error: dict[str, Any] | None = None
        self._body: AsyncGenerator[bytes, None] = answer.body
        self._told = 0
        self._task = asyncio.create_task(self._hear(), name="a client that watches")

    async def listen(self, seconds: float) -> list[tuple[str, str]]:
        """Wait for so long; the events that came since the last call."""
        await asyncio.sleep(seconds)
        new, self._told = self.heard[self._told :], len(self.heard)
        return new

    async def close(self) -> None:
        """Go away."""
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._body.aclose()

    async def _hear(self) -> None:
        async for chunk in self._body:
            for line in chunk.splitlines():
                event = msgspec.json.decode(line)
                if event["type"] == "BOOKMARK":
                    self.bookmarks += 1
                elif event["type"] == "ERROR":
                    self.error = event["object"]
                else:
                    self.heard.append((event["type"], event["object"]["metadata"]["name"]))


def decoded(answer: Answer) -> Any:
    """The body of an answer."""
    assert isinstance(answer.body, bytes)
    return msgspec.json.decode(answer.body)


def play(
    folder: Path,
    test: Callable[[Site], Awaitable[None]],
    *,
    secure: bool = False,
    signatures: Signatures | None = None,
) -> None:
    """Run a test; called again with the same folder, it is a restart of the agent on the same disk."""

    async def main() -> None:
        store = open_store(folder / "edgecore.db", 0.0, InlineDatabase.open)
        site = Site(store, secure=secure, signatures=signatures)
        ready = [asyncio.Event(), asyncio.Event()]
        tasks = [
            asyncio.create_task(site.link.controller.run(ready[0].set)),
            asyncio.create_task(site.server.run(ready[1].set)),
        ]
        try:
            for one in ready:
                await one.wait()
            await test(site)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            store.database.close()

    run(main())


def _never() -> ssl.SSLContext:
    raise AssertionError("nobody listens here")
