"""EventBus, the module: one session with each broker, for ever.

    MQTT clients ══ broker ══► session ──► DeviceTwin (topics of devices and of the node), the cloud (all others)
                          ◄── outgoing ◄── publish(topic, payload) ◄── DeviceTwin, rules of the cloud's router

What comes is acknowledged when DeviceTwin has stored it; until then the broker keeps it. What goes out waits in a
bounded queue while the broker is away: the newest, since clients want to know how things are, not how they were.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from octoedge.edge.eventbus.settings import INTERNAL, Side
from octoedge.edge.eventbus.table import Table
from octoedge.edge.ports import DeviceDoor
from octoedge.errors import DeadlineError, MessageError, OctoedgeError, StoreCorrupt, StoreError, TransportError
from octoedge.protocol import payloads as p
from octoedge.protocol.message import Message
from octoedge.protocol.topics import SUBSCRIBED, is_for_devices
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.logs import SaidOnce
from octoedge.transport import mqtt
from octoedge.transport.mqtt import MqttClient
from octoedge.transport.mqtt_clients import Clients
from octoedge.transport.mqtt_packets import Acknowledged, TooLarge

log = logging.getLogger(__name__)

_WAITING = 1000
"""Messages that wait for a broker."""
_CLIENTS_TOPIC = "$SYS/broker/clients/connected"
"""Where mosquitto says how many clients it has."""


class _Session:
    """A broker, connected or not."""

    def __init__(self, side: Side, door: DeviceDoor, table: Table) -> None:
        self._side = side
        self._door = door
        self._table = table
        self._client: MqttClient | None = None
        self._said = SaidOnce(log)
        self._waiting: deque[tuple[str, bytes]] = deque(maxlen=_WAITING)
        self._under_way: dict[int, tuple[str, bytes]] = {}
        self._number = 0
        self._news = asyncio.Event()
        self._backoff = Backoff(first=0.5, limit=15.0)
        self.connected = False
        self.trouble = "not connected yet"
        self.clients = ""
        self.dropped = 0

    @property
    def side(self) -> Side:
        """Which broker this is."""
        return self._side

    def publish(self, topic: str, payload: bytes) -> None:
        """Never waits."""
        if len(self._waiting) == _WAITING:
            self.dropped += 1
        self._waiting.append((topic, payload))
        self._news.set()

    async def subscribe(self, topic: str) -> None:
        """Listen to a topic of a rule now; a broker that is away hears of it when it is back."""
        if self._client is not None:
            with contextlib.suppress(TransportError, DeadlineError):
                await self._client.subscribe([(topic, 1)])

    async def unsubscribe(self, topic: str) -> None:
        """Listen no more."""
        if self._client is not None:
            with contextlib.suppress(TransportError, DeadlineError):
                await self._client.unsubscribe([topic])

    async def run(self) -> None:
        """Keep connected until cancelled."""
        while True:
            try:
                await self._once()
            except* OctoedgeError as group:
                self._lost(group)
            await asyncio.sleep(self._backoff.next())

    async def _once(self) -> None:
        client = await mqtt.connect(self._side.broker)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._receive(client), name=f"MQTT from {self._side.name}")
                group.create_task(client.keep_alive(), name=f"MQTT pings to {self._side.name}")
                listened = [*SUBSCRIBED, *self._table.topics()]
                refused = await client.subscribe([*((topic, 1) for topic in listened), (_CLIENTS_TOPIC, 0)])
                if refused:
                    log.warning("the MQTT broker does not let EventBus listen to %s", ", ".join(refused))
                self._said.over(self._side.broker.url, "connected again")
                self.connected, self.trouble, self._client = True, "", client
                self._backoff.reset()
                await self._send(client)
        finally:
            self.connected, self._client = False, None
            client.close()
            # What nobody acknowledged goes again, in its order: twice is better than never.
            self._waiting.extendleft(reversed(list(self._under_way.values())[: _WAITING - len(self._waiting)]))
            self._under_way.clear()

    async def _receive(self, client: MqttClient) -> None:
        async for message in client.messages():
            if isinstance(message, TooLarge):
                log.warning(
                    "a message of %d bytes on %s is larger than EventBus takes", message.size, message.topic[:200]
                )
                client.acknowledge(message)
            elif message.topic == _CLIENTS_TOPIC:
                self.clients = message.payload[:20].decode(errors="replace")
            elif message.retained:
                # An old value that the broker repeats to every new subscriber is no news.
                client.acknowledge(message)
            else:
                stored = functools.partial(client.acknowledge, message)
                if is_for_devices(message.topic):
                    await self._door.receive(message.topic, message.payload, stored)
                else:
                    await self._upload(message.topic, message.payload, stored)

    async def _upload(self, topic: str, payload: bytes, stored: Callable[[], None]) -> None:
        """It is on disk, on its way to the cloud, before the broker may forget it."""
        try:
            await self._table.upload(topic, payload)
        except StoreCorrupt:
            raise
        except StoreError as error:
            self._said.trouble("messages for the cloud", str(error))
            return
        stored()

    async def _send(self, client: MqttClient) -> None:
        """One after the other, without waiting for the acknowledgement of the one before."""
        while True:
            while not self._waiting:
                self._news.clear()
                await self._news.wait()
            topic, payload = self._waiting.popleft()
            self._number = number = self._number + 1
            self._under_way[number] = (topic, payload)
            if self._side.quality:
                known = await client.post(topic, payload, retain=self._side.retain)
                known.add_done_callback(functools.partial(self._sent, number))
            else:
                await client.publish(topic, payload, quality=0, retain=self._side.retain)
                del self._under_way[number]

    def _sent(self, number: int, known: asyncio.Future[Acknowledged]) -> None:
        if not known.cancelled() and known.exception() is None:
            self._under_way.pop(number, None)

    def _lost(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self.trouble = str(error)
        self._said.trouble(self._side.broker.url, self.trouble)


class EventBus:
    """Implements `ports.Bus`."""

    name = "eventBus"
    needs: tuple[str, ...] = ("deviceTwin",)

    def __init__(
        self,
        sides: Sequence[Side],
        table: Table,
        keep: Callable[[Clients], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """`keep` runs the node's own broker until cancelled, and tells who its clients are."""
        self._sides = sides
        self._table = table
        self._keep = keep
        self._clients = Clients()
        self._sessions: list[_Session] = []
        self._door: DeviceDoor | None = None

    def serve(self, door: DeviceDoor) -> None:
        """From the start, what clients say goes here."""
        self._door = door

    def publish(self, topic: str, payload: bytes) -> None:
        """Tell the clients of every broker."""
        for session in self._sessions:
            session.publish(topic, payload)

    async def from_cloud(self, _message: Message, payload: p.Payload) -> None:
        """What rules of the cloud's router want; no acknowledgement is awaited."""
        topic = payload.resource.name
        if isinstance(payload, p.TopicPublish):
            self.publish(topic, payload.body)
            return
        try:
            if isinstance(payload, p.TopicSubscribe):
                await self._table.add(topic)
                await self._each(lambda session: session.subscribe(topic))
            elif await self._table.drop(topic) and topic not in SUBSCRIBED:
                await self._each(lambda session: session.unsubscribe(topic))
        except StoreCorrupt:
            raise
        except (MessageError, StoreError) as error:
            log.warning("%s of the cloud is not taken: %s", type(payload).__name__, error)

    async def _each(self, do: Callable[[_Session], Awaitable[None]]) -> None:
        """One broker does not wait for the other."""
        await asyncio.gather(*(do(session) for session in self._sessions))

    def health(self) -> list[dict[str, Any]]:
        """For the status socket: one entry per broker."""
        return [
            {
                "broker": session.side.shown or session.side.broker.url, "side": session.side.name,
                "connected": session.connected, "trouble": session.trouble, "clients": session.clients,
                "dropped": session.dropped,
                "names": self._clients.names if session.side.name == INTERNAL else [],
            }
            for session in self._sessions
        ]  # fmt: skip

    async def run(self, ready: Callable[[], None]) -> None:
        """Keep every session until cancelled; nobody waits for a broker."""
        assert self._door is not None, "EventBus is run without DeviceTwin"
        self._sessions = [_Session(side, self._door, self._table) for side in self._sides]
        async with asyncio.TaskGroup() as group:
            if self._keep is not None:
                group.create_task(self._keep(self._clients), name="MQTT broker")
            for session in self._sessions:
                group.create_task(session.run(), name=f"MQTT {session.side.name}")
            ready()
