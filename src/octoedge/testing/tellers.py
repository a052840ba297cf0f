"""Who speaks for devices and keeps a ledger of it: a DMI client, an MQTT client, and a witness beside a real mapper.

Counting ── ReportDeviceStatus ──► EdgeCore          the next value when this one is answered for, else it again
Listed ──── $hw/events/device/… ──► broker ──► EdgeCore
mapper ──── ReportDeviceStatus ──► Witness ──► EdgeCore
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from octoedge.dmi import messages as m
from octoedge.dmi.messages import CODEC
from octoedge.dmi.services import MANAGER, call
from octoedge.errors import OctoedgeError
from octoedge.testing.ledger import Ledger
from octoedge.transport.grpc import UNAVAILABLE, Channel, GrpcError
from octoedge.transport.grpc_server import serving
from octoedge.transport.mqtt import Broker, MqttClient, connect
from octoedge.transport.mqtt_packets import Published

log = logging.getLogger(__name__)

_ANSWER_SECONDS = 5.0
_WITNESS_SECONDS = 8.0
"""Below the ten that a mapper waits."""
_AGAIN_SECONDS = 0.3


class Rest:
    """Whether somebody is to speak, and whether it does; of any thread."""

    def __init__(self) -> None:
        self.wanted = threading.Event()
        self.taken = threading.Event()
        self.over = threading.Event()

    async def here(self) -> bool:
        """Between two values: rest while that is wanted; whether to go on afterwards."""
        while self.wanted.is_set() and not self.over.is_set():
            self.taken.set()
            await asyncio.sleep(0.1)
        self.taken.clear()
        return not self.over.is_set()


class Counting:
    """A mapper of one device that counts, in numbers and in words."""

    def __init__(self, name: str, socket: Path, pause: float) -> None:
        self.rest = Rest()
        self.ledgers = {f"default/{name}/count": Ledger(), f"default/{name}/word": Ledger()}
        self._name = name
        self._socket = socket
        self._pause = pause
        self._begin = int(time.time() * 1000)
        self._number = 1

    async def run(self) -> None:
        """Speak until it is over."""
        while not self.rest.over.is_set():
            channel = Channel(str(self._socket))
            try:
                while await self.rest.here():
                    await self._say(channel)
                    await asyncio.sleep(self._pause)
            except OctoedgeError as error:
                log.debug("%s: %s", self._name, error)
                await asyncio.sleep(_AGAIN_SECONDS)
            finally:
                channel.close()

    async def _say(self, channel: Channel) -> None:
        stamp = self._begin + self._number
        texts = {"count": str(self._number), "word": f"number {self._number}"}
        places = [ledger.say(stamp, text) for ledger, text in zip(self.ledgers.values(), texts.values(), strict=True)]
        twins = tuple(
            m.Twin(name, m.TwinProperty(), m.TwinProperty(text, {"timestamp": str(stamp)}))
            for name, text in texts.items()
        )
        request = m.ReportDeviceStatusRequest(self._name, m.DeviceStatus(twins=twins), "default")
        await call(channel, MANAGER["ReportDeviceStatus"], request, _ANSWER_SECONDS)
        for ledger, place in zip(self.ledgers.values(), places, strict=True):
            ledger.answer(place)
        self._number += 1


class Listed:
    """An MQTT client that reports a level, with two decimals, and waits for EdgeCore's answer to each."""

    def __init__(self, name: str, port: int, pause: float, quality: int) -> None:
        self.rest = Rest()
        self.ledgers = {f"default/{name}/level": Ledger()}
        (self._ledger,) = self.ledgers.values()
        self._name = name
        self._broker = Broker(f"tcp://127.0.0.1:{port}", f"soak-{name}", timeout=_ANSWER_SECONDS)
        self._pause = pause
        self._quality = quality
        self._begin = int(time.time() * 1000)
        self._number = 1
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def run(self) -> None:
        """Speak until it is over."""
        while not self.rest.over.is_set():
            try:
                client = await connect(self._broker)
            except OctoedgeError:
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            await self._connected(client)

    async def _connected(self, client: MqttClient) -> None:
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self._hear(client)), group.create_task(_ping(client))]
            try:
                await client.subscribe([(f"$hw/events/device/default/{self._name}/twin/update/result", 0)])
                while await self.rest.here():
                    await self._say(client)
                    await asyncio.sleep(self._pause)
            except (OctoedgeError, TimeoutError) as error:
                log.debug("%s: %s", self._name, error)
            finally:
                client.close()
                for helper in helpers:
                    helper.cancel()
        await asyncio.sleep(_AGAIN_SECONDS)

    async def _say(self, client: MqttClient) -> None:
        stamp, text = self._begin + self._number, f"{self._number / 100:.2f}"
        place = self._ledger.say(stamp, text)
        waiting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        event = f"{self._name}-{self._number}"
        self._waiting = {event: waiting}
        value = {"value": text, "metadata": {"timestamp": stamp}}
        body = {"event_id": event, "timestamp": stamp, "twin": {"level": {"actual": value}}}
        topic = f"$hw/events/device/default/{self._name}/twin/update"
        async with asyncio.timeout(_ANSWER_SECONDS):
            await client.publish(topic, msgspec.json.encode(body), quality=self._quality)
            answer = await waiting
        if "code" in answer:
            log.debug("%s: %s", self._name, answer)
            await asyncio.sleep(_AGAIN_SECONDS)
            return
        self._ledger.answer(place)
        self._number += 1

    async def _hear(self, client: MqttClient) -> None:
        with contextlib.suppress(OctoedgeError):
            async for message in client.messages():
                if isinstance(message, Published):
                    said = json.loads(message.payload)
                    waiting = self._waiting.pop(said.get("event_id", ""), None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(said)


async def _ping(client: MqttClient) -> None:
    with contextlib.suppress(OctoedgeError):
        await client.keep_alive()


class Witness:
    """Stands between a mapper and its EdgeCore, passes calls on, and notes which values were answered for."""

    def __init__(self, socket: Path, edgecore: Path) -> None:
        self.socket = socket
        self.rest = Rest()
        self.ledgers: dict[str, Ledger] = {}
        self._channel = Channel(str(edgecore))
        self._under_way = 0

    async def run(self) -> None:
        """Pass on until it is over."""
        methods = {method.path: functools.partial(self._pass, method.path) for method in MANAGER.values()}
        try:
            async with serving(self.socket, 0o600, methods):
                while not self.rest.over.is_set():
                    (self.rest.taken.set if self._rests() else self.rest.taken.clear)()
                    await asyncio.sleep(0.1)
        finally:
            self._channel.close()

    def _rests(self) -> bool:
        return self.rest.wanted.is_set() and not self._under_way

    async def _pass(self, path: str, request: bytes) -> bytes:
        if self.rest.wanted.is_set():
            raise GrpcError(UNAVAILABLE, "the witness rests")
        self._under_way += 1
        try:
            answered = self._noted(request) if path == MANAGER["ReportDeviceStatus"].path else []
            reply = await self._channel.unary(path, request, _WITNESS_SECONDS)
            for done in answered:
                done()
        except GrpcError:
            raise
        except OctoedgeError as error:
            self._channel.close()
            raise GrpcError(UNAVAILABLE, str(error)) from error
        finally:
            self._under_way -= 1
        return reply

    def _noted(self, request: bytes) -> list[Callable[[], None]]:
        report = CODEC.decode(request, m.ReportDeviceStatusRequest)
        answered: list[Callable[[], None]] = []
        for twin in report.reported.twins if report.reported is not None else ():
            stream = f"{report.device_namespace or 'default'}/{report.device_name}/{twin.property_name}"
            ledger = self.ledgers.setdefault(stream, Ledger())
            place = ledger.say(int(twin.reported.metadata["timestamp"]), twin.reported.value)
            answered.append(functools.partial(ledger.answer, place))
        return answered
