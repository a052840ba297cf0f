"""Values as messages: `time is 2026-01-31 09:15:00  plant/boiler: 21.5` on the topic `plant/boiler`.

KubeEdge's mappers connect anew for each value; here a connection is kept, which subscribers cannot see. Quality 2
is sent as 1. Quality 0 has no answer: what is on its way when a connection breaks is lost.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from octoedge.errors import TransportError
from octoedge.mappers.push.http import local_time
from octoedge.mappers.push.sending import Sample, Taken
from octoedge.mappers.push.settings import Mqtt, Target
from octoedge.transport import mqtt
from octoedge.transport.mqtt_packets import Acknowledged

SECONDS = 10.0


def text(sample: Sample) -> bytes:
    """The payload; the two blanks are KubeEdge's."""
    assert isinstance(sample.target, Mqtt)
    return f"time is {local_time(sample.time)}  {sample.target.topic}: {sample.value}".encode()


class Sender:
    """Implements `sending.Sender` for one broker."""

    batch = 500

    def __init__(self, target: Target, group: asyncio.TaskGroup) -> None:
        assert isinstance(target, Mqtt)
        name = f"octoedge-push-{secrets.token_hex(4)}"
        self._broker = mqtt.Broker(target.address, name, timeout=SECONDS)
        self._group = group
        self._client: mqtt.MqttClient | None = None
        self._living: asyncio.Task[None] | None = None

    async def send(self, samples: Sequence[Sample]) -> Taken:
        """A message for each; those of quality 1 are taken when the broker has answered."""
        if self._client is None:
            self._client = await mqtt.connect(self._broker)
            self._living = self._group.create_task(_live(self._client), name=f"pushing to {self._broker.url}")
        batch = _Batch(samples)
        why = ""
        try:
            async with asyncio.timeout(SECONDS):
                await batch.send(self._client)
        except TimeoutError:
            why = f"the MQTT broker {self._broker.url} does not answer within {SECONDS:.0f} s"
        except TransportError as error:
            why = str(error)
        return Taken(batch.left() if why else (), why)

    async def close(self) -> None:
        """End the connection."""
        if self._client is not None:
            self._client.close()
        if self._living is not None:
            self._living.cancel()


class _Batch:
    """Some messages on their way."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self._sent = 0
        self._answers: dict[int, asyncio.Future[Acknowledged]] = {}

    async def send(self, client: mqtt.MqttClient) -> None:
        for number, sample in enumerate(self._samples):
            target = sample.target
            assert isinstance(target, Mqtt)
            if target.quality:
                self._answers[number] = await client.post(target.topic, text(sample), retain=target.retained)
            else:
                await client.publish(target.topic, text(sample), quality=0, retain=target.retained)
            self._sent = number + 1
        await asyncio.gather(*self._answers.values())

    def left(self) -> list[Sample]:
        """What the broker has not got, as far as anybody knows."""
        unsure = {number for number, answer in self._answers.items() if not _good(answer)}
        return [one for number, one in enumerate(self._samples) if number >= self._sent or number in unsure]


def _good(answer: asyncio.Future[Acknowledged]) -> bool:
    return answer.done() and not answer.cancelled() and answer.exception() is None


async def _live(client: mqtt.MqttClient) -> None:
    """Hear the broker's answers, and ping it, as long as the connection holds."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(client.keep_alive(), name="pings")
            async for message in client.messages():
                client.acknowledge(message)
    except* TransportError:
        pass
    finally:
        client.close()
