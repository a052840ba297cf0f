"""What is known of Services, as a name server looks it up: made from EndpointSlices and Services, object by object.

    EndpointSlice of a headless Service ──► its ready endpoints: address, hostname, ports
    Service of type ExternalName        ──► the name that it stands for

Only what answers need is kept. Pure.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from octoedge.edge.edgedns.wire import Name, text_name
from octoedge.errors import MessageError

SERVICE = "kubernetes.io/service-name"
HEADLESS = "service.kubernetes.io/headless"
_NUMBERS = "0123456789abcdef"

K = TypeVar("K")

Place = tuple[str, str]
"""Namespace and name."""


class _Port(msgspec.Struct, frozen=True):
    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class _Conditions(msgspec.Struct, frozen=True):
    ready: bool | None = None


class _Endpoint(msgspec.Struct, frozen=True):
    addresses: list[str] = []
    conditions: _Conditions = _Conditions()
    hostname: str | None = None


class _Meta(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None


class _Named(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()


class _Slice(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    endpoints: list[_Endpoint] | None = None
    ports: list[_Port] | None = None


class _ServiceSpec(msgspec.Struct, frozen=True, rename="camel"):
    type: str = ""
    external_name: str = ""


class _Service(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    spec: _ServiceSpec = _ServiceSpec()


class Port(msgspec.Struct, frozen=True):
    """A port of a Service: its name (empty: it has none), `tcp`, `udp` or `sctp`, and the number at the pods."""

    name: str
    protocol: str
    number: int


class Endpoint(msgspec.Struct, frozen=True):
    """One address that is ready; `data` is the address as A and AAAA records hold it."""

    label: str
    """The pod's hostname; where it has none, its address with `-`."""
    data: bytes


class Part(msgspec.Struct, frozen=True):
    """What one EndpointSlice says."""

    service: Place
    endpoints: tuple[Endpoint, ...]
    ports: tuple[Port, ...]


class Records:
    """All that cluster names are answered from."""

    def __init__(self) -> None:
        self.known = False
        """Whether what is missing here does not exist: false until headless Services were listed once."""
        self._parts: dict[Place, Part] = {}
        self._services: dict[Place, set[Place]] = {}
        """Slices by Service."""
        self._addresses: dict[bytes, set[Place]] = {}
        """Slices by address."""
        self._aliases: dict[Place, Name] = {}

    def __len__(self) -> int:
        return len(self._services) + len(self._aliases)

    # ---- filling ---------------------------------------------------------------------------------------------------

    def set_slices(self, objects: Iterable[bytes]) -> None:
        """All there are."""
        self._parts, self._services, self._addresses, self.known = {}, {}, {}, True
        self.put_slices(objects)

    def put_slices(self, objects: Iterable[bytes]) -> None:
        """New ones, and ones that changed. One that cannot be read counts as gone."""
        for place, part in map(read_slice, objects):
            self.remove_slice(place)
            if part is None:
                continue
            self._parts[place] = part
            self._services.setdefault(part.service, set()).add(place)
            for endpoint in part.endpoints:
                self._addresses.setdefault(endpoint.data, set()).add(place)

    def remove_slice(self, place: Place) -> None:
        """It is gone."""
        part = self._parts.pop(place, None)
        if part is None:
            return
        _drop(self._services, part.service, place)
        for data in {endpoint.data for endpoint in part.endpoints}:
            _drop(self._addresses, data, place)

    def set_aliases(self, objects: Iterable[bytes]) -> None:
        """All Services of type ExternalName."""
        self._aliases = {}
        self.put_aliases(objects)

    def put_aliases(self, objects: Iterable[bytes]) -> None:
        """New ones, and ones that changed."""
        for place, name in map(read_alias, objects):
            self._aliases.pop(place, None)
            if name:
                self._aliases[place] = name

    def remove_alias(self, place: Place) -> None:
        """It is gone."""
        self._aliases.pop(place, None)

    # ---- looking up ------------------------------------------------------------------------------------------------

    def has_namespace(self, namespace: str) -> bool:
        """Whether a Service of this namespace has a name here."""
        return any(place[0] == namespace for place in (*self._services, *self._aliases))

    def alias(self, place: Place) -> Name:
        """What a Service of type ExternalName stands for; empty for any other."""
        return self._aliases.get(place, ())

    def parts(self, service: Place) -> list[Part]:
        """What the slices of a headless Service say."""
        return [self._parts[place] for place in sorted(self._services.get(service, ()))]

    def of_address(self, data: bytes) -> Iterator[tuple[Place, Endpoint]]:
        """The Services that an address is behind, and as what."""
        for place in sorted(self._addresses.get(data, ())):
            part = self._parts[place]
            yield from ((part.service, endpoint) for endpoint in part.endpoints if endpoint.data == data)


def read_slice(data: bytes) -> tuple[Place, Part | None]:
    """Which EndpointSlice it is, and what it says; nothing where it is not one of a headless Service."""
    try:
        seen = msgspec.json.decode(data, type=_Slice)
    except (msgspec.DecodeError, RecursionError):
        return _place_of(data), None
    about, labels = seen.metadata, seen.metadata.labels or {}
    place = (about.namespace, about.name)
    if HEADLESS not in labels or not labels.get(SERVICE):
        return place, None
    ports = tuple(_port(port) for port in seen.ports or ())
    endpoints = tuple(_endpoints(seen.endpoints or ()))
    return place, Part((about.namespace, labels[SERVICE]), endpoints, ports)


def read_alias(data: bytes) -> tuple[Place, Name]:
    """Which Service it is, and the name that it stands for; none where it is not of type ExternalName."""
    try:
        seen = msgspec.json.decode(data, type=_Service)
    except (msgspec.DecodeError, RecursionError):
        return _place_of(data), ()
    target = seen.spec.external_name if seen.spec.type == "ExternalName" else ""
    return (seen.metadata.namespace, seen.metadata.name), text_name(target)


def address_data(text: str) -> bytes:
    """An IP address as records hold it: 4 or 16 bytes. Raises `MessageError`."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
    raise MessageError(f"{text[:60]!r} is no IP address")


def reverse_data(name: Name) -> bytes:
    """The address that a name below in-addr.arpa or ip6.arpa is about; empty when it is about none."""
    if name[-2:] == ("in-addr", "arpa") and len(name) == 6:
        parts = [int(part) if part.isascii() and part.isdecimal() and len(part) < 4 else 256 for part in name[:4]]
        return bytes(reversed(parts)) if max(parts) < 256 else b""
    if name[-2:] == ("ip6", "arpa") and len(name) == 34:
        digits = "".join(reversed(name[:32]))
        whole = len(digits) == 32 and all(digit in _NUMBERS for digit in digits)
        return bytes.fromhex(digits) if whole else b""
    return b""


def _endpoints(endpoints: Iterable[_Endpoint]) -> Iterator[Endpoint]:
    for endpoint in endpoints:
        if endpoint.conditions.ready is False or not endpoint.addresses:
            continue
        try:
            data = address_data(endpoint.addresses[0])  # the others are not looked at, as Kubernetes says
        except MessageError:
            continue
        dashed = endpoint.addresses[0].replace(".", "-").replace(":", "-")
        yield Endpoint((endpoint.hostname or dashed).lower(), data)


def _port(port: _Port) -> Port:
    return Port((port.name or "").lower(), (port.protocol or "TCP").lower(), port.port or 0)


def _place_of(data: bytes) -> Place:
    """The name of an object that holds what it should not."""
    try:
        about = msgspec.json.decode(data, type=_Named).metadata
    except (msgspec.DecodeError, RecursionError):
        return "", ""
    return about.namespace, about.name


def _drop(index: dict[K, set[Place]], key: K, place: Place) -> None:
    places = index[key]
    places.discard(place)
    if not places:
        del index[key]
