"""The link to one device at an OPC UA server; devices at one url with the same rights share a session (`session`).

Settings of a device: `url`; `userName` and `passwordFile` (the file's first line); `securityPolicy` (None,
Basic256Sha256, Aes128Sha256RsaOaep, Aes256Sha256RsaPss) with `securityMode` (Sign, SignAndEncrypt), `certificate` and
`privateKey` (files); `timeout` in seconds (4). Of a property (visitor): `nodeID`, such as `ns=2;s=Pump3.Run`, and
`subscribe`: the server tells by itself when the value changes, looking every so many milliseconds (`samplingInterval`
of the device, 100); without it the value is asked for on the property's beat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from asyncua import ua

from octoedge.errors import ConfigError, DeviceError, ValueRefused
from octoedge.mappers.framework.device import Device, Property
from octoedge.mappers.framework.keys import keys
from octoedge.mappers.framework.settings import flag, number, seconds
from octoedge.mappers.opcua.session import LOOK_SECONDS, Place, Session, Sessions

TIMEOUT = 4.0
_POLICIES = ("Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss")
_MODES = ("Sign", "SignAndEncrypt")
_WHERE = "protocol.configData"
_REFUSED = (
    ua.StatusCodes.BadNodeIdUnknown, ua.StatusCodes.BadTypeMismatch, ua.StatusCodes.BadNotWritable,
    ua.StatusCodes.BadUserAccessDenied, ua.StatusCodes.BadOutOfRange,
)  # fmt: skip

News = Callable[[Sequence[str]], None]

_shared = Sessions()


@keys(
    settings="url userName passwordFile securityPolicy securityMode certificate privateKey timeout samplingInterval",
    visitor="nodeID subscribe browseName",
)
async def connect(device: Device) -> Link:
    """Connect to the server. Raises `ConfigError` with the setting's path, `DeviceError`."""
    sampling, place = number(device.settings, "samplingInterval", 100.0, 10, 3_600_000, _WHERE), _place(device.settings)
    nodes: dict[str, ua.NodeId] = {}
    problems: dict[str, ConfigError] = {}
    for prop in device.properties.values():
        said = str(prop.visitor.get("nodeID", ""))
        try:
            nodes[prop.name] = ua.NodeId.from_string(said)
        except (ua.UaError, ValueError) as error:
            where = f"properties[{prop.name}].visitors.configData.nodeID"
            problems[prop.name] = ConfigError(f"{where}: {said[:60]!r} is no id of a node: {error}")
    told = [name for name, prop in device.properties.items() if name in nodes and flag(prop.visitor, "subscribe")]
    return Link(place, await _shared.take(place), nodes, problems, told, sampling)


class Link:
    """One device."""

    def __init__(
        self, place: Place, session: Session, nodes: Mapping[str, ua.NodeId], problems: Mapping[str, ConfigError],
        subscribe: Sequence[str], sampling: float,
    ) -> None:  # fmt: skip
        self._place = place
        self._session = session
        self._nodes = nodes
        self._problems = problems
        self._subscribe: dict[ua.NodeId, list[str]] = {}
        for name in sorted(subscribe):
            self._subscribe.setdefault(nodes[name], []).append(name)
        self._sampling = sampling
        self._told: dict[ua.NodeId, Any] = {}
        """Node → what the server told by itself last."""
        self._news: News = lambda _: None

    async def close(self) -> None:
        """No longer needed."""
        await self._session.leave(self._take)
        await _shared.leave(self._place, self._session)

    async def listen(self, news: News) -> None:
        """Take what the server tells by itself, until it is gone: `DeviceError`."""
        if not self._subscribe:
            await asyncio.Event().wait()
        self._news = news
        try:
            await self._session.follow(self._sampling, self._subscribe, self._take)
        except ua.UaError as error:
            raise DeviceError(f"subscribing to {len(self._subscribe)} nodes: {error}") from error
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._session.look()

    def _take(self, node: ua.NodeId, told: ua.DataValue) -> None:
        self._told[node] = _value(node, told)
        self._news(self._subscribe.get(node, []))

    async def get(self, node: str) -> Any:
        """The value of a node."""
        [value] = await self._values([ua.NodeId.from_string(node)])
        if isinstance(value, DeviceError):
            raise value
        return value

    async def set(self, node: str, value: Any) -> None:
        """Set a node's value."""
        await self._write(ua.NodeId.from_string(node), value)

    async def read(self, wanted: Sequence[Property]) -> dict[str, Any]:
        """Values by property, all that must be asked for in one request."""
        found: dict[str, Any] = {prop.name: self._problems.get(prop.name) for prop in wanted}
        known = []
        for name in (prop.name for prop in wanted if prop.name in self._nodes):
            if self._nodes[name] in self._told:
                found[name] = self._told[self._nodes[name]]
            else:
                known.append(name)
        values = await self._values([self._nodes[name] for name in known]) if known else []
        return {**found, **dict(zip(known, values, strict=True))}

    async def write(self, prop: Property, value: Any) -> None:
        """Set a property, in the type that the server says."""
        if prop.name not in self._nodes:
            raise self._problems[prop.name]
        await self._write(self._nodes[prop.name], value)
        self._told.pop(self._nodes[prop.name], None)

    async def _values(self, nodes: list[ua.NodeId]) -> list[Any]:
        try:
            answers = await self._session.read(nodes)
        except ua.UaError as error:
            raise DeviceError(f"reading {len(nodes)} nodes: {error}") from error
        return [_value(node, answer) for node, answer in zip(nodes, answers, strict=True)]

    async def _write(self, node: ua.NodeId, value: Any) -> None:
        what = f"writing {node.to_string()}"
        try:
            await self._session.write(node, value)
        except ua.UaStatusCodeError as error:
            raise (ValueRefused if error.code in _REFUSED else DeviceError)(f"{what}: {error}") from error


def _value(node: ua.NodeId, answer: ua.DataValue) -> Any:
    status = answer.StatusCode
    if status is not None and not status.is_good():
        return DeviceError(f"node {node.to_string()}: {status.name}")
    value = answer.Value.Value if answer.Value is not None else None
    if isinstance(value, ua.LocalizedText):
        return value.Text
    if isinstance(value, ua.QualifiedName):
        return value.Name
    return value


def _place(settings: Mapping[str, Any]) -> Place:
    url, user = str(settings.get("url", "")), str(settings.get("userName", ""))
    if not url.startswith("opc.tcp://"):
        raise ConfigError(f"{_WHERE}.url: {url[:60]!r} does not begin with opc.tcp://")
    password = str(settings.get("passwordFile", "")) if user else ""
    policy = str(settings.get("securityPolicy", "None")) or "None"
    if policy.lower() == "none":
        return Place(url, user, password, timeout=seconds(settings, "timeout", TIMEOUT, _WHERE))
    if policy not in _POLICIES:
        raise ConfigError(f"{_WHERE}.securityPolicy: {policy[:40]!r} is none of None, {', '.join(_POLICIES)}")
    mode = str(settings.get("securityMode", "SignAndEncrypt"))
    if mode not in _MODES:
        raise ConfigError(f"{_WHERE}.securityMode: {mode[:40]!r} is none of {', '.join(_MODES)}")
    files = (str(settings.get("certificate", "")), str(settings.get("privateKey", "")))
    return Place(url, user, password, policy, mode, *files, seconds(settings, "timeout", TIMEOUT, _WHERE))
