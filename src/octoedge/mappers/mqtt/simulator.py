"""A valve that speaks MQTT, at a broker that is there: for trying out, and for tests.

NAME/state   {"position": 0 to 100, "flow": litres a minute, "open": bool}; on every change and twice a second, retained
NAME/set     {"position": 0 to 100}; anything else is left alone
"""

from __future__ import annotations

import asyncio

import msgspec

from octoedge.transport.mqtt import Broker, MqttClient, connect
from octoedge.transport.mqtt_packets import Published

BEAT = 0.5


class _Wish(msgspec.Struct):
    position: float


class Valve:
    """The device."""

    def __init__(self, name: str = "valve") -> None:
        self.name = name
        self.position = 20.0
        self.deaf = False
        """Whether it takes what is sent to it, and ignores it."""
        self._changed = asyncio.Event()

    async def run(self, url: str, *, ready: asyncio.Event | None = None) -> None:
        """Play it at this broker until cancelled. Raises `TransportError`."""
        client = await connect(Broker(url, f"simulated-{self.name}"))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._take(client), name="valve's wishes")
                group.create_task(client.keep_alive(), name="valve's keep-alive")
                await client.subscribe([(f"{self.name}/set", 1)])
                group.create_task(self._tell(client), name="valve's state")
                if ready is not None:
                    ready.set()
        finally:
            client.close()

    async def _take(self, client: MqttClient) -> None:
        async for message in client.messages():
            client.acknowledge(message)
            if isinstance(message, Published):
                self._set(message.payload)

    def _set(self, payload: bytes) -> None:
        try:
            wished = msgspec.json.decode(payload, type=_Wish).position
        except msgspec.DecodeError:
            return
        if 0 <= wished <= 100 and not self.deaf:
            self.position = wished
            self._changed.set()

    async def _tell(self, client: MqttClient) -> None:
        while True:
            self._changed.clear()
            state = {"position": self.position, "flow": round(self.position * 0.42, 2), "open": self.position > 0}
            await client.publish(f"{self.name}/state", msgspec.json.encode(state), retain=True)
            try:
                async with asyncio.timeout(BEAT):
                    await self._changed.wait()
            except TimeoutError:
                continue
