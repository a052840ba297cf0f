"""One adapter: finding devices and connecting to them, for all devices of the mapper at once.

    find ─► one scan for all who wait ─► connecting, a few at a time ─► the link's own connection to D-Bus

A radio keeps few connections (7 to 30, says its maker); the system's D-Bus takes 256 of one user.
A scan of its own for each of a thousand devices would have each told of every other one's advertisements.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from weakref import WeakValueDictionary

from bleak import BleakAdapter, BleakClient, BleakScanner
from bleak.backends.device import BLEDevice
from bleak.exc import BleakError

from octoedge.errors import DeviceError

CONNECTING = 4
"""So many connections are being made at a time."""
RESCAN_SECONDS = 60.0
"""A scan that is older is begun anew: BlueZ may have been restarted, and tells nobody that it scans no more."""
CONNECTED_SECONDS = 1.0
"""Between looks at what is connected already."""
FOREIGN = (BleakError, OSError, EOFError, asyncio.TimeoutError)


class Radio:
    """The adapter of this name, or the default one."""

    def __init__(self, adapter: str = "") -> None:
        self._adapter = adapter
        self._waiting: dict[str, set[asyncio.Future[BLEDevice]]] = {}
        self._turn = asyncio.Lock()
        self._scanner: BleakScanner | None = None
        self._since = 0.0
        self._looked = 0.0
        self._room = asyncio.Semaphore(CONNECTING)

    async def connect(self, address: str, seconds: float, gone: Callable[[], None]) -> BleakClient:
        """Find a device and connect; `gone` is called when the connection ends. Raises `DeviceError`."""
        try:
            found = await self._find(address.upper(), seconds)
            client = BleakClient(
                found, lambda _: gone(), timeout=seconds, bluez={"adapter": self._adapter} if self._adapter else {}
            )
            async with self._room:
                await client.connect()
        except FOREIGN as error:
            raise DeviceError(f"no connection to {address}: {_why(error)}") from error
        return client

    async def _find(self, address: str, seconds: float) -> BLEDevice:
        waiting: asyncio.Future[BLEDevice] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(address, set()).add(waiting)
        try:
            async with asyncio.timeout(seconds):
                await self._scan()
                return await waiting
        except TimeoutError as error:
            raise DeviceError(f"no connection to {address}: it was not found within {seconds:g} s") from error
        finally:
            self._waiting[address].discard(waiting)
            if not self._waiting[address]:
                del self._waiting[address]
            if not self._waiting:
                await self._rest()

    async def _scan(self) -> None:
        now = asyncio.get_running_loop().time()
        async with self._turn:
            if self._scanner is not None and now - self._since > RESCAN_SECONDS:
                await self._stop()
            if self._scanner is None:
                scanner = BleakScanner(self._seen, bluez={"adapter": self._adapter} if self._adapter else {})
                await scanner.start()
                self._scanner, self._since = scanner, now
            if now - self._looked > CONNECTED_SECONDS:
                # A device that a killed mapper left connected does not advertise.
                adapter = await BleakAdapter.get(bluez={"adapter": self._adapter} if self._adapter else {})
                for device in await adapter.get_connected_devices():
                    self._seen(device)
                self._looked = now

    async def _rest(self) -> None:
        async with self._turn:
            if not self._waiting:
                await self._stop()

    async def _stop(self) -> None:
        scanner, self._scanner = self._scanner, None
        if scanner is not None:
            with contextlib.suppress(*FOREIGN):
                await scanner.stop()

    def _seen(self, device: BLEDevice, _advertised: object = None) -> None:
        for waiting in self._waiting.get(device.address.upper(), ()):
            if not waiting.done():
                waiting.set_result(device)


class Radios:
    """Those that devices are behind."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[str, Radio] = WeakValueDictionary()

    def get(self, adapter: str) -> Radio:
        """The radio of this name, the same for all who use it."""
        return self._known.setdefault(adapter, Radio(adapter))


def _why(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    full = "concurrent-connection-limit" in text or "Too many" in text
    return f"{text}; the radio keeps no more connections, use another adapter for some" if full else text
