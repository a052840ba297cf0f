"""What a query is answered with, by Kubernetes' DNS specification (version 1.1.0). Pure.

    <service>.<namespace>.svc.<domain>             A, AAAA: the ready endpoints; CNAME: what an ExternalName stands for
    <hostname>.<service>.<namespace>.svc.<domain>  A, AAAA: the endpoint of that hostname
    _<port>._<protocol>.<service>.<namespace>.svc… SRV: port and name of each ready endpoint
    <address>.in-addr.arpa, ….ip6.arpa             PTR: the names of an endpoint
    dns-version.<domain>                           TXT

Headless Services and those of type ExternalName have names. One with a ClusterIP has none: nothing on the node leads
to that address without a mesh, and "no such name" is said sooner than a connection is given up. A headless Service of
which nothing is ready does not exist either, as the specification has it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from octoedge.edge.edgedns import wire
from octoedge.edge.edgedns.records import Endpoint, Part, Port, Records, reverse_data
from octoedge.edge.edgedns.wire import Code, Name, Query, Record
from octoedge.errors import MessageError

T = TypeVar("T")

TTL = 5
"""Seconds that clients may keep what they are told, as CoreDNS has it for Kubernetes."""
VERSION = b"1.1.0"
_HOSTMASTER = ("hostmaster",)


class Known(msgspec.Struct, frozen=True):
    """The answer is here."""

    code: Code = Code.OK
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    extra: tuple[Record, ...] = ()


class Chase(msgspec.Struct, frozen=True):
    """The name stands for another; what that one has belongs to the answer."""

    alias: Record
    target: Name


class Elsewhere(msgspec.Struct, frozen=True):
    """Another server knows."""


Verdict = Known | Chase | Elsewhere


def verdict(query: Query, records: Records, domain: Name) -> Verdict:
    """What is to be said to a query that is well-formed."""
    if query.kind not in (wire.IN, wire.ANY):
        return Known(Code.REFUSED)
    if query.name[-len(domain) :] == domain:
        return _in_domain(query, records, domain)
    data = reverse_data(query.name) if query.type in (wire.PTR, wire.ANY) else b""
    pointers = _pointers(query, records, domain, data) if data else ()
    return Known(answers=pointers) if pointers else Elsewhere()


def _in_domain(query: Query, records: Records, domain: Name) -> Verdict:
    rest = query.name[: -len(domain)]
    soa = _soa(domain)
    found: Known | Chase | None = _apex(query, rest, domain, soa)
    if found is None and rest[-1] == "svc":
        found = _service(query, rest[:-1], records)
    if found is None and not records.known:
        return Known(Code.FAILED)
    if found is None:
        return Known(Code.NO_NAME, authority=(soa,))
    if isinstance(found, Known) and not found.answers and found.code is Code.OK:
        return Known(authority=(soa,))
    return found


def _apex(query: Query, rest: Name, domain: Name, soa: Record) -> Known | None:
    """What the domain says of itself."""
    if not rest:
        served = Record(domain, wire.NS, TTL, wire.write_name(("ns", "dns", *domain)))
        of = {wire.SOA: (soa,), wire.NS: (served,), wire.ANY: (soa, served)}
        return Known(answers=of.get(query.type, ()))
    if rest in (("svc",), ("dns",), ("ns", "dns")):
        return Known()
    if rest == ("dns-version",):
        text = Record(query.name, wire.TXT, 28800, bytes((len(VERSION),)) + VERSION)
        return Known(answers=(text,) if query.type in (wire.TXT, wire.ANY) else ())
    return None


def _service(query: Query, rest: Name, records: Records) -> Known | Chase | None:
    """Names below svc; None: no such name."""
    if len(rest) == 1:
        return Known() if records.has_namespace(rest[0]) else None
    if not rest:
        return Known()
    place, below = (rest[-1], rest[-2]), rest[:-2]
    target = records.alias(place)
    if target:
        return _alias(query, target) if not below else None
    parts = [part for part in records.parts(place) if part.endpoints]
    if not parts:
        return None
    if not below:
        return _addresses(query, [endpoint for part in parts for endpoint in part.endpoints], _ports(query, parts))
    if len(below) == 1 and not below[0].startswith("_"):
        named = [endpoint for part in parts for endpoint in part.endpoints if endpoint.label == below[0]]
        return _addresses(query, named, ()) if named else None
    return _by_port(query, below, parts)


def _alias(query: Query, target: Name) -> Known | Chase:
    try:
        record = Record(query.name, wire.CNAME, TTL, wire.write_name(target))
    except MessageError:
        return Known(Code.FAILED)
    return Known(answers=(record,)) if query.type in (wire.CNAME, wire.ANY) else Chase(record, target)


def _addresses(query: Query, endpoints: list[Endpoint], services: tuple[Record, ...]) -> Known:
    size = {wire.A: (4,), wire.AAAA: (16,), wire.ANY: (4, 16)}.get(query.type, ())
    data = dict.fromkeys(endpoint.data for endpoint in endpoints if len(endpoint.data) in size)
    records = tuple(Record(query.name, _type(one), TTL, one) for one in _turned(list(data), query.id))
    return Known(answers=records + services)


def _ports(query: Query, parts: list[Part]) -> tuple[Record, ...]:
    """SRV of a Service as such: those of all its ports."""
    if query.type != wire.SRV:
        return ()
    owner = query.name
    pairs = [(port, endpoint) for part in parts for port in part.ports for endpoint in part.endpoints]
    return tuple(dict.fromkeys(_srv(owner, owner, port, endpoint) for port, endpoint in pairs))


def _by_port(query: Query, below: Name, parts: list[Part]) -> Known | None:
    """`_http._tcp`, and `_tcp` alone, which is there but has nothing."""
    protocol = below[-1].removeprefix("_")
    ports = [(part, port) for part in parts for port in part.ports if port.protocol == protocol and port.name]
    if below == (f"_{protocol}",):
        return Known() if ports else None
    if len(below) != 2 or not below[0].startswith("_") or not below[1].startswith("_"):
        return None
    name, owner = below[0].removeprefix("_"), query.name
    chosen = [(port, endpoint) for part, port in ports if port.name == name for endpoint in part.endpoints]
    if not chosen:
        return None
    if query.type not in (wire.SRV, wire.ANY):
        return Known()
    service = owner[2:]
    answers = dict.fromkeys(_srv(owner, service, port, endpoint) for port, endpoint in _turned(chosen, query.id))
    extra = dict.fromkeys(
        Record((endpoint.label, *service), _type(endpoint.data), TTL, endpoint.data) for _, endpoint in chosen
    )
    return Known(answers=tuple(answers), extra=tuple(extra))


def _srv(owner: Name, service: Name, port: Port, endpoint: Endpoint) -> Record:
    target = wire.write_name((endpoint.label, *service))
    return Record(owner, wire.SRV, TTL, struct.pack(">HHH", 0, 100, port.number) + target)


def _pointers(query: Query, records: Records, domain: Name, data: bytes) -> tuple[Record, ...]:
    return tuple(_each_pointer(query, records, domain, data))


def _each_pointer(query: Query, records: Records, domain: Name, data: bytes) -> Iterator[Record]:
    for (namespace, service), endpoint in records.of_address(data):
        target = (endpoint.label, service, namespace, "svc", *domain)
        yield Record(query.name, wire.PTR, TTL, wire.write_name(target))


def _soa(domain: Name) -> Record:
    """What says how long "no such name" may be kept."""
    numbers = struct.pack(">IIIII", 1, 7200, 1800, 86400, TTL)
    names = wire.write_name(("ns", "dns", *domain)) + wire.write_name(_HOSTMASTER + domain)
    return Record(domain, wire.SOA, TTL, names + numbers)


def _type(data: bytes) -> int:
    return wire.A if len(data) == 4 else wire.AAAA


def _turned(items: list[T], by: int) -> list[T]:
    """Each answer begins with another, so that clients that take the first are spread."""
    start = by % len(items) if items else 0
    return items[start:] + items[:start]
