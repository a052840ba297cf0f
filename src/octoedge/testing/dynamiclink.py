"""A node's link to a cloud whose DynamicController is real and whose API server is in memory.

    MetaServer ── Link ──► DynamicController ──► MemoryApi

For tests of both ends at once, in virtual time. `cut` and `mend` take the link away and bring it back.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Collection
from typing import Protocol

from octoedge.cloud.dynamiccontroller.controller import DynamicController
from octoedge.edge.ports import Reply
from octoedge.errors import DeadlineError, OfflineError
from octoedge.kube.client import Client
from octoedge.protocol import payloads as p
from octoedge.protocol import routes
from octoedge.protocol.delivery import Item
from octoedge.protocol.message import Message
from octoedge.testing.clock import VirtualClock

NODE = "edge-1"


class _CloudEnd:
    """Implements the cloud's `ports.Downlink`."""

    connected: Collection[str] = (NODE,)

    def __init__(self, deliver: Callable[[Message], None], go_edge: bool) -> None:
        self._deliver = deliver
        self._go_edge = go_edge

    def ours(self, node: str) -> bool:
        return node == NODE and not self._go_edge

    def offer(self, node: str, item: Item) -> None:
        raise AssertionError(f"nothing is offered to {node}: {item}")

    def answer(self, node: str, message: Message) -> None:
        if node == NODE:
            self._deliver(message)

    def end(self, node: str, why: str) -> None:
        del node, why


class Api(Protocol):
    """An API server that can be asked: `MemoryApi`, or a real one."""

    def client(self) -> Client:
        """Who asks it as CloudCore."""
        ...


class DynamicLink:
    """Implements the edge's `ports.Link`."""

    def __init__(self, api: Api, accounts: Collection[str] = (), *, go_edge: bool = False) -> None:
        self.accounts = set(accounts)
        """`<namespace>/<name>` of the service accounts that pods of the node run as."""
        self.controller = DynamicController(
            api.client(), _CloudEnd(self._deliver, go_edge), VirtualClock(), self._runs_as
        )
        self.asked: list[p.Payload] = []
        self.pushed: list[p.Payload] = []
        """What came without a question."""
        self.ours = True
        """Whether the cloud says that it is an Octoedge."""
        self.says: bytes | None = None
        """What a cloud that is not to be believed answers to everything."""
        self.deaf = False
        """Whether nothing comes through, and nobody knows it yet."""
        self.heard = 0
        self._ids = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._up, self._down = asyncio.Event(), asyncio.Event()
        self._up.set()

    def cut(self) -> None:
        """The connection is lost."""
        self._up.clear()
        self._down.set()
        self.controller.disconnected(NODE)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(OfflineError("the connection was lost"))

    def mend(self) -> None:
        """The connection is back."""
        self.heard += 1
        self._down.clear()
        self._up.set()

    @property
    def connected(self) -> bool:
        return self._up.is_set()

    @property
    def keeps_lease(self) -> bool:
        return False

    @property
    def silences(self) -> int:
        return 0

    async def until_connected(self) -> None:
        await self._up.wait()

    async def until_disconnected(self) -> None:
        await self._down.wait()

    def answers(self, payload: p.Payload) -> bool:
        row = routes.row_of(payload)
        return (row.confirm if self.ours else row.confirm_go) is routes.Confirm.REPLY

    async def request(self, payload: p.Payload, timeout: float) -> Reply:
        await asyncio.sleep(0.001)
        if not self._up.is_set():
            raise OfflineError("the cloud is away")
        self.asked.append(payload)
        message = routes.compose(payload, message_id=f"m{next(self._ids)}", timestamp=0)
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[message.header.msg_id] = waiting
        try:
            if not self.deaf:
                self.controller.receive(NODE, message, routes.classify(routes.Direction.UP, message))
            async with asyncio.timeout(timeout):
                reply = await waiting
                return reply if self.says is None else Reply(reply.message, self.says)
        except TimeoutError as error:
            raise DeadlineError("no answer") from error
        finally:
            del self._waiting[message.header.msg_id]

    async def send(self, payload: p.Payload) -> None:
        self.asked.append(payload)

    async def acknowledge(self, message: Message, error: str = "") -> None:
        del message, error

    def _deliver(self, message: Message) -> None:
        if self.deaf:
            return
        self.heard += 1
        waiting = self._waiting.get(message.header.parent_msg_id)
        if not message.header.parent_msg_id:
            self.pushed.append(routes.classify(routes.Direction.DOWN, message))
        elif waiting is not None and not waiting.done():
            answer = routes.classify(routes.Direction.DOWN, message)
            waiting.set_result(Reply(message, answer.body))

    def _runs_as(self, node: str, namespace: str, name: str) -> bool:
        return node == NODE and f"{namespace}/{name}" in self.accounts
