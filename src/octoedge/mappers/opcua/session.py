"""Sessions at OPC UA servers. Devices at one url, with the same rights, share one, and its subscriptions.

    link ─┐                      ┌─► read, write: requests side by side on one connection
    link ─┼─► Sessions.take ─► Session
    link ─┘                      └─◄ subscription for each sampling interval, told to whoever wants the node

A session that fails as a whole (no answer, an end of the connection) is not given to anybody any more: those who have
it leave it, and come back to a new one. The last one closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from asyncua import Client, ua
from asyncua.client.ua_client import UaClient, UaClientState, UASocketProtocol
from asyncua.common.subscription import Subscription

from octoedge.errors import ConfigError, DeviceError, OctoedgeError

MAX_MESSAGE = 4 << 20
"""Bytes of one answer; a server that sends more is cut off."""
LOOK_SECONDS = 2.0
"""How often a server that only tells by itself is asked whether it is there."""
FOREIGN = (ua.UaError, OSError, asyncio.TimeoutError, ConnectionError)
_WHERE = "protocol.configData"
_SERVER_STATE = ua.NodeId(2259)

Take = Callable[[ua.NodeId, ua.DataValue], None]
"""Called with a node and what the server tells of it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is and who we are there; equal ones share a session."""

    url: str
    user: str = ""
    password_file: str = ""
    policy: str = ""
    """Empty: no security."""
    mode: str = ""
    certificate: str = ""
    key: str = ""
    timeout: float = 4.0
    """Seconds until an answer must have come."""

    async def open(self) -> Session:
        """A session. Raises `ConfigError` with the setting's path, `DeviceError`."""
        client = Client(self.url, timeout=self.timeout)
        _bounded(client.uaclient)
        if self.user:
            client.set_user(self.user)
            client.set_password(await self._password())
        if self.policy:
            try:
                await client.set_security_string(f"{self.policy},{self.mode},{self.certificate},{self.key}")
            except Exception as error:
                raise ConfigError(f"{_WHERE}.certificate, privateKey: {error}") from error
        try:
            await client.connect()
        except Exception as error:  # asyncua raises whatever its parser stumbles over
            with contextlib.suppress(Exception):
                await client.disconnect()
            raise DeviceError(f"no connection to {self.url}: {str(error) or type(error).__name__}") from error
        except BaseException:
            client.disconnect_socket()
            raise
        return Session(client)

    async def _password(self) -> str:
        try:
            text = await asyncio.to_thread(Path(self.password_file).read_text)
        except OSError as error:
            what = f"{self.password_file[:100]!r} cannot be read: {error.strerror}"
            raise ConfigError(f"{_WHERE}.passwordFile: {what}") from error
        return text.splitlines()[0] if text else ""


class Session:
    """One session; `Sessions.take` gives it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._feeds: dict[float, _Feed] = {}
        self._turn = asyncio.Lock()
        self._looked = 0.0
        self._types: dict[ua.NodeId, ua.VariantType] = {}
        self.users = 0
        self.trouble = ""
        """Why the last request failed as a whole; empty when it did not."""

    @property
    def usable(self) -> bool:
        """Whether somebody new should get it."""
        return not self.trouble and self._client.uaclient.state is UaClientState.CONNECTED

    async def close(self) -> None:
        """End it."""
        with contextlib.suppress(*FOREIGN):
            await self._client.disconnect()

    async def read(self, nodes: Sequence[ua.NodeId]) -> list[ua.DataValue]:
        """Values, all in one request. Raises `DeviceError`."""
        answers = await self._ask(
            f"reading {len(nodes)} nodes", self._client.uaclient.read_attributes(list(nodes), ua.AttributeIds.Value)
        )
        if len(answers) != len(nodes):
            raise DeviceError(f"reading {len(nodes)} nodes: {len(answers)} values came")
        return list(answers)

    async def write(self, node_id: ua.NodeId, value: Any) -> None:
        """Set a node's value in the type that it has. Raises `ua.UaStatusCodeError` when the server says no."""
        node = self._client.get_node(node_id)
        what = f"writing {node_id.to_string()}"
        if node_id not in self._types:
            self._types[node_id] = await self._ask(what, node.read_data_type_as_variant_type())
        await self._ask(what, node.write_value(ua.DataValue(ua.Variant(value, self._types[node_id]))))

    async def look(self) -> None:
        """See whether the server is there, once for all who ask about now. Raises `DeviceError`."""
        async with self._turn:
            if self.trouble:
                raise DeviceError(self.trouble)
            now = asyncio.get_running_loop().time()
            if now - self._looked > LOOK_SECONDS / 2:
                await self.read([_SERVER_STATE])
                self._looked = now

    async def follow(self, sampling: float, nodes: Iterable[ua.NodeId], take: Take) -> None:
        """Have `take` told of nodes as they change, looked at every so many milliseconds; until `leave`. Raises
        `DeviceError`."""
        async with self._turn:
            feed = self._feeds.get(sampling)
            if feed is None:
                feed = _Feed()
                feed.subscription = await self._ask("subscribing", self._client.create_subscription(sampling, feed))
                self._feeds[sampling] = feed
        new = feed.add(nodes, take)
        if new:
            monitored = [self._client.get_node(node) for node in new]
            asking = feed.subscription.subscribe_data_change(monitored, sampling_interval=sampling)
            said = await self._ask(f"subscribing to {len(new)} nodes", asking)
            # A node that cannot be followed is asked for, and says why itself.
            feed.handles.update({node: one for node, one in zip(new, said, strict=True) if isinstance(one, int)})

    async def leave(self, take: Take) -> None:
        """Tell `take` no more."""
        for feed in self._feeds.values():
            unwanted = feed.drop(take)
            if unwanted and self.usable and self.users > 1:
                with contextlib.suppress(DeviceError, *FOREIGN):
                    await self._ask("unsubscribing", feed.subscription.unsubscribe(unwanted))

    async def _ask(self, what: str, asking: Any) -> Any:
        try:
            found = await asking
        except ua.UaStatusCodeError as error:
            if error.code in _OVER:
                self.trouble = f"{what}: {error}"
            raise
        except FOREIGN as error:
            self.trouble = f"{what}: {str(error) or type(error).__name__}"
            raise DeviceError(self.trouble) from error
        self.trouble = ""
        return found


_OVER = (
    ua.StatusCodes.BadSessionIdInvalid, ua.StatusCodes.BadSessionClosed, ua.StatusCodes.BadSessionNotActivated,
    ua.StatusCodes.BadSecureChannelIdInvalid, ua.StatusCodes.BadConnectionClosed, ua.StatusCodes.BadTimeout,
)  # fmt: skip
"""What a server says when the session is no more."""


class _Feed:
    """A subscription, and who wants to know what it tells."""

    subscription: Subscription

    def __init__(self) -> None:
        self.handles: dict[ua.NodeId, int] = {}
        self._takers: dict[ua.NodeId, list[Take]] = {}
        self._latest: dict[ua.NodeId, ua.DataValue] = {}

    def add(self, nodes: Iterable[ua.NodeId], take: Take) -> list[ua.NodeId]:
        """Those of the nodes that nobody has followed so far; what is known of the others is told at once."""
        new = []
        for node in nodes:
            takers = self._takers.setdefault(node, [])
            new += [] if takers else [node]
            takers.append(take)
            if node in self._latest:
                take(node, self._latest[node])
        return new

    def drop(self, take: Take) -> list[int]:
        """The handles of nodes that nobody wants any more."""
        for node, takers in list(self._takers.items()):
            if take in takers:
                takers.remove(take)
            if not takers:
                del self._takers[node]
                self._latest.pop(node, None)
        return [self.handles.pop(node) for node in list(self.handles) if node not in self._takers]

    def datachange_notification(self, node: Any, _value: Any, data: Any) -> None:
        """What asyncua calls when the server tells a value."""
        if node.nodeid in self._takers:
            self._latest[node.nodeid] = data.monitored_item.Value
            for take in self._takers[node.nodeid]:
                take(node.nodeid, data.monitored_item.Value)


class _Door:
    """The way to one place: one who opens it at a time, and what came of the last try."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.failed: tuple[float, OctoedgeError] | None = None
        """When the last try that failed began, and why."""


class Sessions:
    """Open sessions by place."""

    def __init__(self) -> None:
        self._open: dict[Place, Session] = {}
        self._doors: WeakValueDictionary[Place, _Door] = WeakValueDictionary()

    async def take(self, place: Place) -> Session:
        """A session, the same for all who ask; whoever waits while a try fails gets its error, not a try of its own.
        Raises `ConfigError`, `DeviceError`."""
        clock = asyncio.get_running_loop().time
        asked, door = clock(), self._doors.setdefault(place, _Door())
        async with door.turn:
            session = self._open.get(place)
            if session is None or not session.usable:
                if door.failed is not None and door.failed[0] >= asked:
                    raise type(door.failed[1])(str(door.failed[1]))
                began = clock()
                try:
                    session = self._open[place] = await place.open()
                except OctoedgeError as error:
                    door.failed = (began, error)
                    raise
            session.users += 1
            return session

    async def leave(self, place: Place, session: Session) -> None:
        """The session is needed once less."""
        session.users -= 1
        if session.users == 0:
            if self._open.get(place) is session:
                del self._open[place]
            await session.close()


def _bounded(client: UaClient) -> None:
    """Have a client keep no more of an answer than `MAX_MESSAGE`; asyncua would keep as much as is sent."""
    make = client._make_protocol

    def made() -> UASocketProtocol:
        protocol = make()
        take = protocol.data_received

        def received(data: bytes) -> None:
            if len(protocol.receive_buffer or b"") + protocol._connection._incoming_size + len(data) > MAX_MESSAGE:
                protocol.disconnect_socket()
            else:
                take(data)

        protocol.data_received = received
        return protocol

    client._make_protocol = made
