"""The link to one HTTP device.

Settings of a device: `baseURL`; `timeoutSeconds` (5). Of a property (visitor): `path` below it, `pointer` (a JSON
pointer into the answer, such as `/data/total`; the whole text when absent), and for writing `writePath` (`path`),
`writeMethod` (PUT) and `writeKey` (the value is sent as `{key: value}`; as bare JSON when absent). Properties of one
path are read in one request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp
import msgspec

from octoedge.errors import ConfigError, DeviceError, ValueRefused
from octoedge.mappers.framework.device import Device, Property
from octoedge.mappers.framework.keys import keys
from octoedge.mappers.framework.pointer import picked
from octoedge.mappers.framework.settings import seconds

MAX_ANSWER = 1 << 20
TIMEOUT = 5.0
_METHODS = ("PUT", "POST", "PATCH")


@keys(
    settings="baseURL timeoutSeconds",
    visitor="path pointer writePath writeMethod writeKey",
)
async def connect(device: Device) -> Link:
    """Get ready for a device. Raises `ConfigError` with the setting's path."""
    base = str(device.settings.get("baseURL", ""))
    if not base.startswith(("http://", "https://")):
        raise ConfigError(f"protocol.configData.baseURL: {base[:60]!r} does not begin with http:// or https://")
    return Link(base.rstrip("/"), seconds(device.settings, "timeoutSeconds", TIMEOUT, "protocol.configData"))


class Link:
    """One HTTP device."""

    def __init__(self, base: str, seconds: float) -> None:
        self._base = base
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds))

    async def close(self) -> None:
        """No longer needed."""
        await self._session.close()

    async def get(self, path: str) -> bytes:
        """What the device answers at a path."""
        return await self._ask("GET", path, None)

    async def send(self, method: str, path: str, value: Any) -> bytes:
        """Send a value as JSON."""
        return await self._ask(method, path, msgspec.json.encode(value))

    async def read(self, wanted: Sequence[Property]) -> dict[str, Any]:
        """Values by property; one request for each path, side by side."""
        by_path: dict[str, list[Property]] = {}
        for prop in wanted:
            by_path.setdefault(str(prop.visitor.get("path", "")), []).append(prop)
        found: dict[str, Any] = {}
        for values in await asyncio.gather(*(self._values(path, props) for path, props in by_path.items())):
            found.update(values)
        return found

    async def write(self, prop: Property, value: Any) -> None:
        """Set a property."""
        visitor = prop.visitor
        method = str(visitor.get("writeMethod", "PUT")).upper()
        if method not in _METHODS:
            where = f"properties[{prop.name}].visitors.configData.writeMethod"
            raise ConfigError(f"{where}: {method[:20]!r} is none of {', '.join(_METHODS)}")
        key = visitor.get("writeKey")
        await self.send(
            method, str(visitor.get("writePath") or visitor.get("path", "")), {str(key): value} if key else value
        )

    async def _values(self, path: str, props: list[Property]) -> dict[str, Any]:
        try:
            answer = await self.get(path)
        except (DeviceError, ValueRefused) as error:
            return {prop.name: DeviceError(str(error)) for prop in props}
        return {prop.name: picked(answer, str(prop.visitor.get("pointer", "")), prop.type) for prop in props}

    async def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        url = f"{self._base}/{path.lstrip('/')}"
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            async with self._session.request(method, url, data=body, headers=headers, allow_redirects=False) as answer:
                content = await answer.content.read(MAX_ANSWER + 1)
                while len(content) <= MAX_ANSWER and (more := await answer.content.read(MAX_ANSWER)):
                    content += more
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise DeviceError(f"{method} {url}: {str(error) or type(error).__name__}") from error
        if len(content) > MAX_ANSWER:
            raise DeviceError(f"{method} {url}: the answer is longer than {MAX_ANSWER} bytes")
        if 400 <= status < 500:
            raise ValueRefused(f"{method} {url} was refused with {status}: {content[:100].decode(errors='replace')}")
        if status >= 300:
            raise DeviceError(f"{method} {url} answered {status}")
        return content
