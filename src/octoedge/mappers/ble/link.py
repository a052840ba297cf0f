"""The link to one Bluetooth LE device.

Settings of a device: `macAddress`; `adapter` (hci0, where there are several); `timeout` in seconds until it must have
been found and connected (10). Of a property (visitor): `characteristicUUID`, what its bytes mean (`convert`), and
`notify`: the device tells by itself when the value changes.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bleak import BleakClient

from octoedge.errors import ConfigError, DeviceError, ValueRefused
from octoedge.mappers.ble.convert import Meaning, meaning
from octoedge.mappers.ble.radio import FOREIGN, Radio, Radios
from octoedge.mappers.framework.device import Device, Property
from octoedge.mappers.framework.keys import keys
from octoedge.mappers.framework.settings import flag, seconds

TIMEOUT = 10.0
_ADDRESS = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){5}", re.IGNORECASE)
_WHERE = "protocol.configData"

News = Callable[[Sequence[str]], None]

_radios = Radios()


@dataclass(frozen=True, slots=True)
class Characteristic:
    """Where one value is and what it means."""

    uuid: str
    meaning: Meaning
    notify: bool = False


@keys(
    settings="macAddress adapter timeout",
    visitor="characteristicUUID notify format scale dataConverter",
)
async def connect(device: Device) -> Link:
    """Find the device and connect. Raises `ConfigError` with the setting's path, `DeviceError`."""
    address, timeout = str(device.settings.get("macAddress", "")), seconds(device.settings, "timeout", TIMEOUT, _WHERE)
    if not _ADDRESS.fullmatch(address):
        raise ConfigError(f"{_WHERE}.macAddress: {address[:40]!r} is no address such as C0:FF:EE:00:00:01")
    found: dict[str, Characteristic] = {}
    problems: dict[str, ConfigError] = {}
    for prop in device.properties.values():
        try:
            found[prop.name] = characteristic(prop)
        except ConfigError as error:
            problems[prop.name] = error
    gone = asyncio.Event()
    radio = _radios.get(str(device.settings.get("adapter") or ""))
    client = await radio.connect(address, timeout, gone.set)
    return Link(address, client, radio, gone, found, problems)


def characteristic(prop: Property) -> Characteristic:
    """What a visitor says; `ConfigError` names the field that makes no sense. Pure."""
    where = f"properties[{prop.name}].visitors.configData"
    said = str(prop.visitor.get("characteristicUUID", ""))
    try:
        name = str(uuid.UUID(f"0000{said}-0000-1000-8000-00805f9b34fb" if len(said) == 4 else said))
    except ValueError:
        raise ConfigError(f"{where}.characteristicUUID: {said[:60]!r} is no UUID") from None
    notify = flag(prop.visitor, "notify")
    return Characteristic(name, meaning(prop.visitor, prop.type, where), notify)


class Link:
    """One device."""

    def __init__(
        self, address: str, client: BleakClient, radio: Radio, gone: asyncio.Event,
        characteristics: Mapping[str, Characteristic],
        problems: Mapping[str, ConfigError],
    ) -> None:  # fmt: skip
        self._address = address
        self._client = client
        self._radio = radio
        """Kept, for as long as it has a device."""
        self._gone = gone
        self._characteristics = characteristics
        self._problems = problems
        self._told: dict[str, bytes] = {}
        """Characteristic → what it told by itself last."""

    async def close(self) -> None:
        """No longer needed."""
        try:
            await self._client.disconnect()
        except FOREIGN as error:
            raise DeviceError(f"disconnecting from {self._address}: {str(error) or type(error).__name__}") from error

    async def listen(self, news: News) -> None:
        """Take what the device tells by itself, until it is gone: `DeviceError`."""
        names: dict[str, list[str]] = {}
        for name, one in self._characteristics.items():
            if one.notify:
                names.setdefault(one.uuid, []).append(name)
        for which, told in names.items():
            await self._ask("listening to", which, self._client.start_notify(which, self._taker(which, told, news)))
        await self._gone.wait()
        raise DeviceError(f"{self._address} is disconnected")

    async def read(self, wanted: Sequence[Property]) -> dict[str, Any]:
        """Values by property; each characteristic is read once, and what tells by itself is not asked."""
        raw: dict[str, bytes | DeviceError | ValueRefused] = dict(self._told)
        found: dict[str, Any] = {}
        for prop in wanted:
            one = self._characteristics.get(prop.name)
            if one is None:
                found[prop.name] = self._problems[prop.name]
                continue
            if one.uuid not in raw:
                raw[one.uuid] = await self._bytes(one.uuid)
            found[prop.name] = _decoded(one, raw[one.uuid])
        return found

    async def write(self, prop: Property, value: Any) -> None:
        """Set a property, and wait for the device's answer."""
        one = self._characteristics.get(prop.name)
        if one is None:
            raise self._problems[prop.name]
        raw = one.meaning.encode(value)
        await self._ask("writing", one.uuid, self._client.write_gatt_char(one.uuid, raw, response=True))
        self._told.pop(one.uuid, None)

    async def get(self, which: str) -> bytes:
        """The bytes of a characteristic."""
        return bytes(await self._ask("reading", which, self._client.read_gatt_char(which)))

    async def set(self, which: str, raw: bytes) -> None:
        """Set the bytes of a characteristic."""
        await self._ask("writing", which, self._client.write_gatt_char(which, raw, response=True))

    async def _bytes(self, which: str) -> bytes | DeviceError | ValueRefused:
        try:
            return await self.get(which)
        except (DeviceError, ValueRefused) as error:
            if self._gone.is_set():
                raise DeviceError(f"{self._address} is disconnected") from error
            return DeviceError(str(error))

    async def _ask(self, doing: str, which: str, asking: Any) -> Any:
        try:
            return await asking
        except FOREIGN as error:
            text = f"{doing} {which} of {self._address}: {str(error) or type(error).__name__}"
            refused = any(word in str(error) for word in ("NotPermitted", "not permitted", "NotSupported", "not found"))
            raise (ValueRefused if refused else DeviceError)(text) from error

    def _taker(self, which: str, names: list[str], news: News) -> Callable[[Any, bytearray], None]:
        def take(_: Any, raw: bytearray) -> None:
            self._told[which] = bytes(raw)
            news(names)

        return take


def _decoded(one: Characteristic, raw: bytes | DeviceError | ValueRefused) -> Any:
    if not isinstance(raw, bytes):
        return raw
    try:
        return one.meaning.decode(raw)
    except DeviceError as error:
        return error
