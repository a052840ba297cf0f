"""The link to one device that publishes its values at an MQTT broker and takes wishes there.

Settings of a device: `brokerURL` (`tcp://host:1883`, `ssl://…`), or `ip` and `port`; `clientID`; `username` and
`passwordFile` (the file's first line); `caFile`, `certificate`, `privateKey` (files); `keepAlive` (30 s); `maxAge`: a
value older than so many seconds is none any more (300). Of a property (visitor): `topic` and `pointer` (a JSON pointer;
the whole text when absent); for writing `writeTopic` and `writeKey` (the value is sent as `{key: value}`; as bare JSON
when absent). What comes is told at once, not at the next beat.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from octoedge.errors import ConfigError, DeadlineError, DeviceError, ProtocolError, TransportError, first_of
from octoedge.mappers.framework.device import Device, Property
from octoedge.mappers.framework.keys import keys
from octoedge.mappers.framework.pointer import picked
from octoedge.mappers.framework.settings import number, whole
from octoedge.transport.mqtt import Broker, MqttClient
from octoedge.transport.mqtt import connect as open_client
from octoedge.transport.mqtt_packets import Published

MAX_AGE = 300.0
FIRST_SECONDS = 2.0
"""Until a value that was asked for right after connecting, or after a wish, must have come."""
_WHERE = "protocol.configData"

News = Callable[[Sequence[str]], None]


@keys(
    settings="brokerURL ip port clientID username passwordFile caFile certificate privateKey keepAlive maxAge",
    visitor="topic pointer writeTopic writeKey",
)
async def connect(device: Device) -> Link:
    """Connect to the broker. Raises `ConfigError` with the setting's path, `DeviceError`."""
    broker = await _broker(device)
    try:
        client = await open_client(broker)
    except (TransportError, ProtocolError) as error:
        raise DeviceError(str(error)) from error
    return Link(client, device.properties, number(device.settings, "maxAge", MAX_AGE, 1, 86400, _WHERE))


class Link:
    """One device's topics."""

    def __init__(self, client: MqttClient, properties: Mapping[str, Property], max_age: float) -> None:
        self._client = client
        self._max_age = max_age
        self._by_topic: dict[str, list[str]] = {}
        for prop in properties.values():
            if topic := str(prop.visitor.get("topic", "")):
                self._by_topic.setdefault(topic, []).append(prop.name)
        self._latest: dict[str, tuple[bytes, float]] = {}
        """Topic → what came last, and when."""
        self._stale: set[str] = set()
        """Topics whose latest value is from before a wish."""
        self._came = asyncio.Event()

    async def close(self) -> None:
        """No longer needed."""
        self._client.close()

    async def listen(self, news: News) -> None:
        """Take what comes until the connection breaks: `DeviceError`."""
        why: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._take(news), name="MQTT messages")
                group.create_task(self._client.keep_alive(), name="MQTT keep-alive")
                topics = [(topic, 1) for topic in self._by_topic]
                refused = await self._client.subscribe(topics) if topics else []
                if refused:
                    raise DeviceError(f"the broker does not let this client listen to {', '.join(refused)[:200]}")
        except* (TransportError, ProtocolError, DeadlineError, DeviceError) as errors:
            why = first_of(errors)
        raise DeviceError(str(why)) from None

    async def _take(self, news: News) -> None:
        async for message in self._client.messages():
            self._client.acknowledge(message)
            if isinstance(message, Published) and message.topic in self._by_topic:
                self._latest[message.topic] = (message.payload, asyncio.get_running_loop().time())
                self._stale.discard(message.topic)
                self._came.set()
                news(self._by_topic[message.topic])

    async def read(self, wanted: Sequence[Property]) -> dict[str, Any]:
        """Values by property: what came last of each."""
        topics = {str(prop.visitor.get("topic", "")) for prop in wanted} & self._by_topic.keys()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SECONDS):
                while topics - self._latest.keys() or topics & self._stale:
                    self._came.clear()
                    await self._came.wait()
        self._stale -= topics  # a device that says nothing to a wish has what it had
        return {prop.name: self._value(prop) for prop in wanted}

    async def write(self, prop: Property, value: Any) -> None:
        """Publish a wish; the broker has it when this returns."""
        topic, key = str(prop.visitor.get("writeTopic", "")), prop.visitor.get("writeKey")
        if not topic or any(sign in topic for sign in "+#\0"):
            raise ConfigError(f"{_of(prop, 'writeTopic')}: {topic[:60]!r} is no topic to publish on")
        try:
            await self._client.publish(topic, msgspec.json.encode({str(key): value} if key else value))
        except (TransportError, DeadlineError) as error:
            raise DeviceError(f"writing {prop.name}: {error}") from error
        self._stale |= {str(prop.visitor.get("topic", ""))} & self._latest.keys()

    def _value(self, prop: Property) -> Any:
        topic = str(prop.visitor.get("topic", ""))
        if not topic or any(sign in topic for sign in "+#\0"):
            return ConfigError(f"{_of(prop, 'topic')}: {topic[:60]!r} is no topic of one device")
        if topic not in self._latest:
            return DeviceError(f"nothing has come on {topic}")
        payload, when = self._latest[topic]
        age = asyncio.get_running_loop().time() - when
        if age > self._max_age:
            return DeviceError(f"nothing has come on {topic} for {age:.0f} s")
        return picked(payload, str(prop.visitor.get("pointer", "")), prop.type)


def _of(prop: Property, key: str) -> str:
    return f"properties[{prop.name}].visitors.configData.{key}"


async def _broker(device: Device) -> Broker:
    said = device.settings
    url = str(said.get("brokerURL") or "")
    if not url and said.get("ip"):
        url = f"tcp://{said['ip']}:{whole(said, 'port', 1883, 1, 65535, _WHERE)}"
    if not url:
        raise ConfigError(f"{_WHERE}.brokerURL is missing: the MQTT broker, such as tcp://127.0.0.1:1883")
    if "://" not in url:
        raise ConfigError(f"{_WHERE}.brokerURL: {url[:60]!r} is no address; it should look like tcp://127.0.0.1:1883")
    return Broker(
        url, str(said.get("clientID") or f"octoedge-mapper-{device.namespace}-{device.name}"),
        username=str(said.get("username", "")), password=await _password(said), ca_file=str(said.get("caFile", "")),
        certificate_file=str(said.get("certificate", "")), key_file=str(said.get("privateKey", "")),
        keepalive=int(number(said, "keepAlive", 30, 1, 3600, _WHERE)), timeout=5.0,
    )  # fmt: skip


async def _password(settings: Mapping[str, Any]) -> str:
    file = str(settings.get("passwordFile", ""))
    if not file:
        return ""
    try:
        text = await asyncio.to_thread(Path(file).read_text)
    except OSError as error:
        raise ConfigError(f"{_WHERE}.passwordFile: {file[:100]!r} cannot be read: {error.strerror}") from error
    return text.splitlines()[0] if text else ""
