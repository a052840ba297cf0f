"""BlueZ without a radio: a D-Bus service named org.bluez that speaks its interface, for one adapter.

    bleak ── GetManagedObjects, StartDiscovery, Connect, ReadValue, WriteValue, StartNotify ──► Bluez ──► Peripheral
          ◄── InterfacesAdded, InterfacesRemoved, PropertiesChanged ──────────────────────────

Peripherals are added and taken away while it runs; answers may be held back.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from octoedge.mappers.ble.paced import Paced

ADAPTER = "/org/bluez/hci0"
_OBJECTS, _PROPERTIES = "org.freedesktop.DBus.ObjectManager", "org.freedesktop.DBus.Properties"
_DEVICE, _CHARACTERISTIC = "org.bluez.Device1", "org.bluez.GattCharacteristic1"
_ADVERTISE_SECONDS = 0.1
_GENERIC = "00001801-0000-1000-8000-00805f9b34fb"
"""The service that every device has."""
_AT_ONCE, _PAUSE_SECONDS = 50, 0.05
"""So many are announced in a row: others have a turn too."""

Tree = dict[str, dict[str, Variant]]


class Value(Protocol):
    """What is behind a characteristic."""

    def read(self) -> bytes:
        """Its bytes now."""
        ...

    def write(self, raw: bytes) -> bool:
        """Set it; False for bytes that it does not take."""
        ...


@dataclass(slots=True)
class Peripheral:
    """One device with one service."""

    address: str
    name: str
    service: str
    characteristics: Mapping[str, tuple[tuple[str, ...], Value]]
    """UUID → flags (read, write, notify), value."""
    connected: bool = False
    notifying: set[str] = field(default_factory=set)

    @property
    def path(self) -> str:
        return f"{ADAPTER}/dev_{self.address.replace(':', '_')}"

    def paths(self) -> dict[str, str]:
        """Path of each characteristic → its UUID."""
        return {
            f"{self.path}/service000a/char{0x0B + 3 * n:04x}": which for n, which in enumerate(self.characteristics)
        }

    def objects(self) -> dict[str, Tree]:
        """As ObjectManager tells them."""
        device = {
            "Address": Variant("s", self.address), "AddressType": Variant("s", "public"),
            "Name": Variant("s", self.name), "Alias": Variant("s", self.name), "Adapter": Variant("o", ADAPTER),
            "Paired": Variant("b", False), "Trusted": Variant("b", False), "Blocked": Variant("b", False),
            "Connected": Variant("b", self.connected), "ServicesResolved": Variant("b", self.connected),
            "LegacyPairing": Variant("b", False), "RSSI": Variant("n", -60),
            "UUIDs": Variant("as", [_GENERIC, self.service]),
        }  # fmt: skip
        service = {
            "UUID": Variant("s", self.service), "Primary": Variant("b", True), "Device": Variant("o", self.path),
            "Includes": Variant("ao", []),
        }  # fmt: skip
        found: dict[str, Tree] = {
            self.path: {_DEVICE: device},
            f"{self.path}/service000a": {"org.bluez.GattService1": service},
        }
        for path, which in self.paths().items():
            flags, value = self.characteristics[which]
            found[path] = {
                _CHARACTERISTIC: {
                    "UUID": Variant("s", which), "Service": Variant("o", f"{self.path}/service000a"),
                    "Value": Variant("ay", value.read()), "Flags": Variant("as", list(flags)),
                    "Notifying": Variant("b", False), "MTU": Variant("q", 23),
                }
            }  # fmt: skip
        return found


class Bluez:
    """The service; `run` serves it on a bus."""

    def __init__(self, most: int = 20) -> None:
        self._outgoing: Paced | None = None
        self._peripherals: dict[str, Peripheral] = {}
        self._paths: dict[str, Peripheral] = {}
        self._most = most
        """Connections that the radio keeps."""
        self._scans = 0
        self._held: list[Message] | None = None
        self.spoil: Callable[[bytes], bytes] = bytes
        """What becomes of the bytes that are read."""
        self._methods: dict[str, Callable[[Message], Message]] = {
            "GetManagedObjects": self._managed, "Get": self._get, "GetAll": self._get_all, "Set": _done,
            "SetDiscoveryFilter": _done, "StartDiscovery": self._start_scan, "StopDiscovery": self._stop_scan,
            "Connect": self._connect, "Disconnect": self._disconnect, "ReadValue": self._read,
            "WriteValue": self._write, "StartNotify": self._start_notify, "StopNotify": self._stop_notify,
        }  # fmt: skip

    async def run(self, address: str, ready: asyncio.Event) -> None:
        """Serve on the bus at this address until cancelled."""
        bus = await MessageBus(bus_address=address).connect()
        self._outgoing = Paced(bus)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._outgoing.run(), name="what BlueZ says")
                bus.add_message_handler(self._asked)
                await bus.request_name("org.bluez")
                ready.set()
                await self._advertise()
        finally:
            self._outgoing = None
            bus.disconnect()

    async def _advertise(self) -> None:
        while True:
            await asyncio.sleep(_ADVERTISE_SECONDS)
            for number, one in enumerate(list(self._peripherals.values()) if self._scans else ()):
                if not one.connected:
                    self._changed(one.path, _DEVICE, {"RSSI": Variant("n", -60)})
                if number % _AT_ONCE == _AT_ONCE - 1:
                    await asyncio.sleep(_PAUSE_SECONDS)

    def add(self, one: Peripheral) -> None:
        """It is near."""
        self._peripherals[one.path] = one
        self._paths.update(dict.fromkeys([one.path, *one.paths()], one))
        for path, interfaces in one.objects().items():
            self._signal("/", _OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, interfaces])

    def remove(self, one: Peripheral) -> None:
        """It is away."""
        self._drop(one)
        self._peripherals.pop(one.path, None)
        for path in (one.path, *one.paths()):
            self._paths.pop(path, None)
        for path, interfaces in reversed(one.objects().items()):
            self._signal("/", _OBJECTS, "InterfacesRemoved", "oas", [path, list(interfaces)])

    def hold(self, hold: bool) -> None:
        """Answer no more; or answer all that was held back."""
        held, self._held = self._held or [], [] if hold else None
        for message in held:
            self._send(message)

    def notify(self) -> None:
        """Tell the values of all characteristics that somebody listens to."""
        for one in self._peripherals.values():
            for path in one.notifying:
                raw = self.spoil(one.characteristics[one.paths()[path]][1].read())
                self._changed(path, _CHARACTERISTIC, {"Value": Variant("ay", raw)})

    # ---- calls -----------------------------------------------------------------------------------------------------

    def _asked(self, message: Message) -> bool | None:
        if message.message_type is not MessageType.METHOD_CALL or not (message.path or "").startswith(("/org", "/")):
            return None
        method = self._methods.get(message.member or "")
        if method is None:
            return None
        if message.path not in ("/", ADAPTER) and self._owner(message) is None:
            answer = Message.new_error(message, "org.freedesktop.DBus.Error.UnknownObject", "no such object")
        else:
            answer = method(message)
        if self._held is not None and message.interface in (_CHARACTERISTIC, _DEVICE):
            self._held.append(answer)
        else:
            self._send(answer)
        return True

    def _managed(self, message: Message) -> Message:
        adapter = {
            "org.bluez.Adapter1": {
                "Address": Variant("s", "C0:FF:EE:00:00:00"), "Name": Variant("s", "simulated"),
                "Alias": Variant("s", "simulated"), "Powered": Variant("b", True),
                "Discovering": Variant("b", self._scans > 0), "Roles": Variant("as", ["central"]),
                "UUIDs": Variant("as", []),
            }
        }  # fmt: skip
        found: dict[str, Tree] = {ADAPTER: adapter}
        for one in self._peripherals.values():
            found.update(one.objects())
        return Message.new_method_return(message, "a{oa{sa{sv}}}", [found])

    def _get(self, message: Message) -> Message:
        interface, name = message.body
        return Message.new_method_return(message, "v", [self._objects()[message.path or ""][interface][name]])

    def _get_all(self, message: Message) -> Message:
        return Message.new_method_return(message, "a{sv}", [self._objects()[message.path or ""][message.body[0]]])

    def _objects(self) -> dict[str, Tree]:
        return {path: tree for one in self._peripherals.values() for path, tree in one.objects().items()}

    def _start_scan(self, message: Message) -> Message:
        self._scans += 1
        return _done(message)

    def _stop_scan(self, message: Message) -> Message:
        self._scans = max(0, self._scans - 1)
        return _done(message)

    def _connect(self, message: Message) -> Message:
        one = self._peripherals[message.path or ""]
        if not one.connected and sum(other.connected for other in self._peripherals.values()) >= self._most:
            return Message.new_error(message, "org.bluez.Error.Failed", "le-connection-concurrent-connection-limit")
        one.connected = True
        self._changed(one.path, _DEVICE, {"Connected": Variant("b", True)})
        self._changed(one.path, _DEVICE, {"ServicesResolved": Variant("b", True)})
        return _done(message)

    def _disconnect(self, message: Message) -> Message:
        self._drop(self._peripherals[message.path or ""])
        return _done(message)

    def _drop(self, one: Peripheral) -> None:
        if one.connected:
            one.connected = False
            one.notifying.clear()
            gone = {"Connected": Variant("b", False), "ServicesResolved": Variant("b", False)}
            self._changed(one.path, _DEVICE, gone)

    def _read(self, message: Message) -> Message:
        flags, value = self._value(message)
        if "read" not in flags:
            return Message.new_error(message, "org.bluez.Error.NotPermitted", "Read not permitted")
        return Message.new_method_return(message, "ay", [self.spoil(value.read())])

    def _write(self, message: Message) -> Message:
        flags, value = self._value(message)
        if "write" not in flags:
            return Message.new_error(message, "org.bluez.Error.NotPermitted", "Write not permitted")
        if not value.write(bytes(message.body[0])):
            return Message.new_error(message, "org.bluez.Error.InvalidArguments", "Invalid Length")
        return _done(message)

    def _start_notify(self, message: Message) -> Message:
        one = self._owner(message)
        if one is not None and message.path:
            one.notifying.add(message.path)
        return _done(message)

    def _stop_notify(self, message: Message) -> Message:
        one = self._owner(message)
        if one is not None:
            one.notifying.discard(message.path or "")
        return _done(message)

    def _value(self, message: Message) -> tuple[tuple[str, ...], Value]:
        one = self._owner(message)
        assert one is not None
        return one.characteristics[one.paths()[message.path or ""]]

    def _owner(self, message: Message) -> Peripheral | None:
        return self._paths.get(message.path or "")

    # ---- what goes out ---------------------------------------------------------------------------------------------

    def _changed(self, path: str, interface: str, values: dict[str, Variant]) -> None:
        self._signal(path, _PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, values, []])

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        self._send(Message.new_signal(path, interface, member, signature, body))

    def _send(self, message: Message) -> None:
        if self._outgoing is not None:
            self._outgoing.put(message)


def _done(message: Message) -> Message:
    return Message.new_method_return(message)


class Number:
    """A number in a characteristic, in a format of `struct`."""

    def __init__(self, value: float, form: str = "<h", scale: float = 0.01) -> None:
        self.value = value
        self.deaf = False
        """Whether it takes what is written, and ignores it."""
        self._form = form
        self._scale = scale

    def read(self) -> bytes:
        """Its bytes now."""
        return struct.pack(self._form, round(self.value / self._scale))

    def write(self, raw: bytes) -> bool:
        """Set it; False for bytes of another length."""
        if len(raw) != struct.calcsize(self._form):
            return False
        if not self.deaf:
            self.value = round(struct.unpack(self._form, raw)[0] * self._scale, 6)
        return True
