"""An MQTT 3.1.1 client of quality 0 and 1, over TCP or TLS.

    client = await connect(broker)
    await client.subscribe(topics)            await client.publish(topic, payload, quality=1)
    async for message in client.messages(): … client.acknowledge(message)

`messages` is the pump: answers to `subscribe` and `publish` arrive while it runs. A message of quality 1 is
acknowledged by who has stored it; the broker keeps it until then, over restarts too, when the session is not clean.
There is no task inside. It exists because of the agent's memory budget; `docs/decisions/0010-own-mqtt-client.md` has
the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec

from octoedge.errors import ConfigError, ConnectError, ConnectionClosed, ConnectionRefusedByPeer, DeadlineError
from octoedge.transport import mqtt_packets as packets
from octoedge.transport.mqtt_packets import Acknowledged, Connected, Published, TooLarge

_READ = 64 * 1024
_IN_FLIGHT = 64
"""Publications of quality 1 that wait for their acknowledgement."""
_ANSWER_SECONDS = 20.0
_PORTS = {"tcp": 1883, "mqtt": 1883, "ssl": 8883, "tls": 8883, "mqtts": 8883}
_UNIX = "unix://"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_ENCRYPTED = frozenset({"ssl", "tls", "mqtts"})


class Broker(msgspec.Struct, frozen=True):
    """Where a broker is and how it is spoken to."""

    url: str
    """`tcp://host:port`, `ssl://host:port`, `unix:///path` …"""
    client_id: str
    clean: bool = True
    """Whether the broker forgets the client's subscriptions and waiting messages when it goes."""
    username: str = ""
    password: str = ""
    ca_file: str = ""
    """PEM; empty: the machine's own authorities. Only for encrypted connections."""
    certificate_file: str = ""
    key_file: str = ""
    keepalive: int = 30
    """Seconds."""
    timeout: float = 15.0
    """Seconds until a try to connect is given up."""

    def __repr__(self) -> str:
        return f"Broker({self.url!r}, {self.client_id!r})"


async def connect(broker: Broker) -> MqttClient:
    """Open a connection. Raises `ConfigError` for a wrong URL or certificate file, `ConnectError`, and
    `ConnectionRefusedByPeer` with the broker's reason."""
    dial, where = _dial(broker)
    try:
        async with asyncio.timeout(broker.timeout):
            reader, writer = await dial()
            client = MqttClient(broker, reader, writer)
            try:
                await client.greet()
            except BaseException:
                client.close()
                raise
    except (OSError, TimeoutError) as error:
        why = str(error) or "no answer in time"
        raise ConnectError(f"cannot connect to the MQTT broker {where}: {why}") from error
    return client


class MqttClient:
    """One connection; make it with `connect`."""

    def __init__(self, broker: Broker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._broker = broker
        self._reader = reader
        self._writer = writer
        self._decoder = packets.Decoder()
        self._waiting: dict[int, asyncio.Future[Acknowledged]] = {}
        self._room = asyncio.Semaphore(_IN_FLIGHT)
        self._next = 0
        self._heard = asyncio.get_running_loop().time()
        self._over = False
        self.session_present = False
        """Whether the broker remembers this client's subscriptions."""

    async def greet(self) -> None:
        """CONNECT; raises `ConnectionRefusedByPeer` with the broker's reason."""
        broker = self._broker
        self._write(
            packets.connect(
                broker.client_id, keepalive=broker.keepalive, clean=broker.clean, username=broker.username,
                password=broker.password,
            )
        )  # fmt: skip
        while True:
            for packet in self._decoder.feed(await self._read()):
                if not isinstance(packet, Connected) or packet.code:
                    code = packet.code if isinstance(packet, Connected) else 0
                    why = packets.REFUSALS.get(code, f"its answer is {packet}")
                    raise ConnectionRefusedByPeer(f"the MQTT broker {broker.url} refuses the connection: {why}")
                self.session_present = packet.session_present
                return

    async def messages(self) -> AsyncIterator[Published | TooLarge]:
        """What comes, until the connection ends: then `ConnectionClosed`."""
        try:
            while True:
                for packet in self._decoder.feed(await self._read()):
                    if isinstance(packet, Published | TooLarge):
                        yield packet
                    elif isinstance(packet, Acknowledged):
                        waiting = self._waiting.get(packet.identifier)
                        if waiting is not None and not waiting.done():
                            waiting.set_result(packet)
        finally:
            self._fail(ConnectionClosed("the connection to the MQTT broker is over"))

    async def keep_alive(self) -> None:
        """Ping in time, for ever; raises `ConnectionClosed` when the broker no longer answers."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._broker.keepalive / 2)
            if loop.time() - self._heard > self._broker.keepalive * 1.5:
                raise ConnectionClosed(f"the MQTT broker was silent for {loop.time() - self._heard:.0f} s")
            self._write(packets.PING)

    async def subscribe(self, topics: Sequence[tuple[str, int]]) -> list[str]:
        """Listen to (pattern, quality); returns the patterns that the broker refuses."""
        said = await self._ask(lambda identifier: packets.subscribe(identifier, topics))
        return [topic for (topic, _), code in zip(topics, said.codes, strict=False) if code >= 0x80]

    async def unsubscribe(self, topics: Sequence[str]) -> None:
        """Listen no more."""
        await self._ask(lambda identifier: packets.unsubscribe(identifier, topics))

    async def publish(self, topic: str, payload: bytes, *, quality: int = 1, retain: bool = False) -> None:
        """Publish; with quality 1 the broker has it when this returns, with 0 it is on its way."""
        if not quality:
            self._write(packets.publish(topic, payload, retain=retain))
            await self._drain()
            return
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await (await self.post(topic, payload, retain=retain))
        except TimeoutError as error:
            raise DeadlineError(f"the MQTT broker gave no answer in {_ANSWER_SECONDS:.0f} s") from error

    async def post(self, topic: str, payload: bytes, *, retain: bool = False) -> asyncio.Future[Acknowledged]:
        """Publish with quality 1, as soon as there is room for one more under way; the future is done when the broker
        has it, and fails with `ConnectionClosed` when nobody knows."""
        await self._room.acquire()
        identifier = self._identifier()
        waiting: asyncio.Future[Acknowledged] = asyncio.get_running_loop().create_future()
        self._waiting[identifier] = waiting
        waiting.add_done_callback(functools.partial(self._done, identifier))
        try:
            self._write(packets.publish(topic, payload, identifier=identifier, retain=retain))
            await self._drain()
        except BaseException:
            waiting.cancel()
            raise
        return waiting

    def _done(self, identifier: int, _: object) -> None:
        del self._waiting[identifier]
        self._room.release()

    def acknowledge(self, message: Published | TooLarge) -> None:
        """The message is stored here; the broker may forget it. Nothing for one of quality 0."""
        if message.identifier:
            with contextlib.suppress(ConnectionClosed):
                self._write(packets.acknowledge(message.identifier))

    def close(self) -> None:
        """Say goodbye and end the connection; idempotent."""
        if not self._writer.is_closing():
            self._writer.write(packets.DISCONNECT)
            self._writer.close()
        self._fail(ConnectionClosed("the connection to the MQTT broker was closed here"))

    async def _ask(self, packet: Callable[[int], bytes]) -> Acknowledged:
        identifier = self._identifier()
        waiting: asyncio.Future[Acknowledged] = asyncio.get_running_loop().create_future()
        self._waiting[identifier] = waiting
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                self._write(packet(identifier))
                await self._drain()
                return await waiting
        except TimeoutError as error:
            raise DeadlineError(f"the MQTT broker gave no answer in {_ANSWER_SECONDS:.0f} s") from error
        finally:
            del self._waiting[identifier]

    def _identifier(self) -> int:
        while True:
            self._next = self._next % 0xFFFF + 1
            if self._next not in self._waiting:
                return self._next

    async def _read(self) -> bytes:
        try:
            data = await self._reader.read(_READ)
        except OSError as error:
            raise ConnectionClosed(f"the connection to the MQTT broker broke: {error}") from error
        if not data:
            raise ConnectionClosed("the MQTT broker ended the connection")
        self._heard = asyncio.get_running_loop().time()
        self._confirm_at_once()
        return data

    def _confirm_at_once(self) -> None:
        """Brokers collect small packets until what they sent before is confirmed, which the kernel puts off for 40 ms.

        The wish holds for a moment only, so it is renewed with every read.
        """
        own = self._writer.get_extra_info("socket")
        if own is not None:
            with contextlib.suppress(OSError):
                own.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _write(self, data: bytes) -> None:
        if self._over or self._writer.is_closing():
            raise ConnectionClosed("the connection to the MQTT broker is over")
        self._writer.write(data)

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError as error:
            raise ConnectionClosed(f"the connection to the MQTT broker broke: {error}") from error

    def _fail(self, error: Exception) -> None:
        self._over = True
        for waiting in list(self._waiting.values()):
            if not waiting.done():
                waiting.set_exception(error)
                waiting.exception()


def _dial(broker: Broker) -> tuple[Callable[[], Awaitable[Streams]], str]:
    """How the broker is reached, and where it is."""
    if broker.url.startswith(_UNIX):
        path = broker.url.removeprefix(_UNIX)
        return functools.partial(asyncio.open_unix_connection, path), path
    host, port, encrypted = _parse(broker.url)
    context = _context(broker) if encrypted else None
    return functools.partial(asyncio.open_connection, host, port, ssl=context), f"{host}:{port}"


def _parse(url: str) -> tuple[str, int, bool]:
    """(host, port, whether it is encrypted)."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{url!r} is no address of an MQTT broker: {error}") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ConfigError(f"{url!r} is no address of an MQTT broker; it should look like tcp://127.0.0.1:1883")
    return parts.hostname, port or _PORTS[parts.scheme], parts.scheme in _ENCRYPTED


def _context(broker: Broker) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=broker.ca_file or None)
        if broker.certificate_file:
            context.load_cert_chain(broker.certificate_file, broker.key_file or None)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(filter(None, (broker.ca_file, broker.certificate_file, broker.key_file)))
        raise ConfigError(f"the certificates for the MQTT broker ({files}) cannot be used: {error}") from error
    return context
