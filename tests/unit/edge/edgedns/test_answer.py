"""What names are answered with, by Kubernetes' DNS specification."""

from __future__ import annotations

import random
import socket
from typing import Any

import msgspec
import pytest

from octoedge.edge.edgedns import wire
from octoedge.edge.edgedns.answer import Chase, Elsewhere, Known, Verdict, verdict
from octoedge.edge.edgedns.records import Records, reverse_data
from octoedge.edge.edgedns.wire import Code, text_name

DOMAIN = ("cluster", "local")
HTTP = {"name": "http", "port": 8080, "protocol": "TCP"}


def part(service: str, *endpoints: dict[str, Any], name: str = "", ports: Any = (HTTP,), labels: Any = None) -> bytes:
    marks = {"kubernetes.io/service-name": service, "service.kubernetes.io/headless": ""}
    about = {"name": name or f"{service}-1", "namespace": "shop", "labels": marks if labels is None else labels}
    return msgspec.json.encode({"metadata": about, "endpoints": endpoints, "ports": list(ports)})


def endpoint(address: str, hostname: str = "", **conditions: Any) -> dict[str, Any]:
    named = {"hostname": hostname} if hostname else {}
    return {"addresses": [address], "conditions": conditions or {"ready": True}, **named}


def alias(name: str, target: str) -> bytes:
    about = {"name": name, "namespace": "shop"}
    return msgspec.json.encode({"metadata": about, "spec": {"type": "ExternalName", "externalName": target}})


def shop() -> Records:
    records = Records()
    records.set_slices(
        [
            part("web", endpoint("10.88.77.5", "web-0"), endpoint("10.88.77.6", "web-1"), endpoint("10.88.77.7")),
            part("web", endpoint("fd00::5", "web-0"), name="web-2"),
            part("slow", endpoint("10.88.77.9", "slow-0", ready=False)),
            part("bare", endpoint("10.88.77.5"), ports=({"name": "", "port": 80, "protocol": "TCP"},)),
        ]
    )
    records.set_aliases([alias("shopkeeper", "www.example.com."), alias("mirror", "web.shop.svc.cluster.local")])
    return records


def said(name: str, kind: int = wire.A, records: Records | None = None) -> Verdict:
    query = wire.read_query(wire.ask(0, text_name(name), kind))
    assert query is not None
    return verdict(query, shop() if records is None else records, DOMAIN)


def known(name: str, kind: int = wire.A, records: Records | None = None) -> Known:
    found = said(name, kind, records)
    assert isinstance(found, Known), found
    return found


def addresses(name: str, kind: int = wire.A) -> set[str]:
    family = socket.AF_INET if kind == wire.A else socket.AF_INET6
    return {socket.inet_ntop(family, record.data) for record in known(name, kind).answers}


def targets(name: str, kind: int) -> list[str]:
    skip = 6 if kind == wire.SRV else 0
    return [".".join(wire.read_name(record.data, skip)[0]) for record in known(name, kind).answers]


def test_a_headless_service_is_its_ready_endpoints() -> None:
    assert addresses("web.shop.svc.cluster.local") == {"10.88.77.5", "10.88.77.6", "10.88.77.7"}
    assert addresses("WEB.Shop.svc.cluster.local.", wire.AAAA) == {"fd00::5"}


def test_a_pod_of_a_stateful_set_has_a_name_of_its_own() -> None:
    assert addresses("web-1.web.shop.svc.cluster.local") == {"10.88.77.6"}
    assert addresses("web-0.web.shop.svc.cluster.local", wire.AAAA) == {"fd00::5"}
    assert addresses("10-88-77-7.web.shop.svc.cluster.local") == {"10.88.77.7"}


def test_ports_have_names() -> None:
    found = known("_http._tcp.web.shop.svc.cluster.local", wire.SRV)
    assert {record.data[:6] for record in found.answers} == {b"\0\0\0\x64\x1f\x90"}
    assert sorted(targets("_http._tcp.web.shop.svc.cluster.local", wire.SRV)) == [
        "10-88-77-7.web.shop.svc.cluster.local",
        "web-0.web.shop.svc.cluster.local",
        "web-1.web.shop.svc.cluster.local",
    ]
    assert {record.data for record in found.extra} >= {socket.inet_aton("10.88.77.5")}
    assert known("_http._udp.web.shop.svc.cluster.local", wire.SRV).code is Code.NO_NAME
    assert known("_ftp._tcp.web.shop.svc.cluster.local", wire.SRV).code is Code.NO_NAME
    assert len(known("web.shop.svc.cluster.local", wire.SRV).answers) == 3


def test_an_address_has_names() -> None:
    assert targets("5.77.88.10.in-addr.arpa", wire.PTR) == [
        "10-88-77-5.bare.shop.svc.cluster.local",
        "web-0.web.shop.svc.cluster.local",
    ]
    reverse = ".".join(reversed(socket.inet_pton(socket.AF_INET6, "fd00::5").hex())) + ".ip6.arpa"
    assert targets(reverse, wire.PTR) == ["web-0.web.shop.svc.cluster.local"]
    assert said("99.77.88.10.in-addr.arpa", wire.PTR) == Elsewhere()
    assert said("9.77.88.10.in-addr.arpa", wire.PTR) == Elsewhere()


def test_another_name_is_said_and_looked_up() -> None:
    found = said("shopkeeper.shop.svc.cluster.local")
    assert isinstance(found, Chase)
    assert found.target == ("www", "example", "com")
    assert targets("shopkeeper.shop.svc.cluster.local", wire.CNAME) == ["www.example.com"]
    assert known("x.shopkeeper.shop.svc.cluster.local").code is Code.NO_NAME


@pytest.mark.parametrize(
    "name",
    [
        "nothing.shop.svc.cluster.local",
        "slow.shop.svc.cluster.local",
        "web-7.web.shop.svc.cluster.local",
        "slow-0.slow.shop.svc.cluster.local",
        "a.web-0.web.shop.svc.cluster.local",
        "_http._tcp.web-0.web.shop.svc.cluster.local",
        "web.other.svc.cluster.local",
        "other.svc.cluster.local",
        "example.com.shop.svc.cluster.local",
        "web.shop.cluster.local",
        "10-88-77-5.shop.pod.cluster.local",
    ],
)
def test_a_name_that_does_not_exist_is_said_not_to(name: str) -> None:
    found = known(name)
    assert (found.code, found.answers) == (Code.NO_NAME, ())
    assert [record.type for record in found.authority] == [wire.SOA]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("web-1.web.shop.svc.cluster.local", wire.AAAA),
        ("web.shop.svc.cluster.local", 15),
        ("_http._tcp.web.shop.svc.cluster.local", wire.A),
        ("_tcp.web.shop.svc.cluster.local", wire.A),
        ("shop.svc.cluster.local", wire.A),
        ("svc.cluster.local", wire.A),
        ("cluster.local", wire.A),
        ("ns.dns.cluster.local", wire.AAAA),
        ("dns-version.cluster.local", wire.A),
    ],
)
def test_a_name_without_such_a_record_exists_all_the_same(name: str, kind: int) -> None:
    found = known(name, kind)
    assert (found.code, found.answers) == (Code.OK, ())
    assert [record.type for record in found.authority] == [wire.SOA]


def test_the_domain_says_who_it_is() -> None:
    assert known("dns-version.cluster.local", wire.TXT).answers[0].data == b"\x051.1.0"
    assert [record.type for record in known("cluster.local", wire.ANY).answers] == [wire.SOA, wire.NS]


@pytest.mark.parametrize("name", ["example.com", "web", "", "local", "xcluster.local", "1.in-addr.arpa"])
def test_everything_else_is_asked_elsewhere(name: str) -> None:
    assert said(name) == Elsewhere()


def test_other_classes_are_refused() -> None:
    query = wire.read_query(wire.ask(0, ("version", "bind"), wire.TXT)[:-1] + b"\3")
    assert query is not None
    assert verdict(query, shop(), DOMAIN) == Known(Code.REFUSED)


def test_what_was_never_heard_of_is_not_said_to_be_nothing() -> None:
    records = Records()
    assert known("web.shop.svc.cluster.local", records=records).code is Code.FAILED
    assert known("cluster.local", wire.SOA, records).answers
    assert said("example.com", records=records) == Elsewhere()
    records.set_slices([])
    assert known("web.shop.svc.cluster.local", records=records).code is Code.NO_NAME


def test_each_answer_begins_with_another() -> None:
    name = text_name("web.shop.svc.cluster.local")
    first = set()
    for number in range(3):
        query = wire.read_query(wire.ask(number, name, wire.A))
        assert query is not None
        found = verdict(query, shop(), DOMAIN)
        assert isinstance(found, Known)
        first.add(found.answers[0].data)
    assert len(first) == 3


def test_slices_come_change_and_go() -> None:
    records = shop()
    records.put_slices([part("web", endpoint("10.88.77.8", "web-0"))])
    assert known("web-0.web.shop.svc.cluster.local", records=records).answers[0].data == socket.inet_aton("10.88.77.8")
    assert [place for place, _ in records.of_address(socket.inet_aton("10.88.77.6"))] == []
    records.remove_slice(("shop", "web-1"))
    assert known("web.shop.svc.cluster.local", records=records).code is Code.OK, "the other family is left"
    records.remove_slice(("shop", "web-2"))
    records.remove_slice(("shop", "never"))
    assert known("web.shop.svc.cluster.local", records=records).code is Code.NO_NAME
    records.remove_alias(("shop", "mirror"))
    assert known("mirror.shop.svc.cluster.local", records=records).code is Code.NO_NAME
    records.set_aliases([])
    records.set_slices([])
    assert len(records) == 0


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b'{"metadata":{"name":"web-1","namespace":"shop"},"endpoints":7}',
        part("web", endpoint("10.88.77.5"), labels={"kubernetes.io/service-name": "web"}),
        part("web", endpoint("10.88.77.5"), labels={"service.kubernetes.io/headless": ""}),
        part("web", endpoint("not an address"), {"addresses": []}),
    ],
)
def test_a_slice_that_says_nothing_takes_the_place_of_the_one_before(data: bytes) -> None:
    records = Records()
    records.set_slices([part("web", endpoint("10.88.77.5"))])
    records.put_slices([data])
    there = [one for one in records.parts(("shop", "web")) if one.endpoints]
    assert bool(there) == (data == b"[]"), "what names no object changes none"


def test_any_order_of_changes_ends_with_the_same() -> None:
    rng = random.Random(5)
    for _ in range(200):
        records = Records()
        last: dict[str, bytes] = {}
        for _ in range(rng.randrange(12)):
            name = f"web-{rng.randrange(3)}"
            if rng.random() < 0.3:
                records.remove_slice(("shop", name))
                last.pop(name, None)
            else:
                addresses = [endpoint(f"10.0.0.{rng.randrange(4)}") for _ in range(rng.randrange(3))]
                last[name] = part(rng.choice(("web", "db")), *addresses, name=name)
                records.put_slices([last[name]])
        anew = Records()
        anew.set_slices(last.values())
        for service in (("shop", "web"), ("shop", "db")):
            assert records.parts(service) == anew.parts(service)
        for byte in range(4):
            data = bytes((10, 0, 0, byte))
            assert list(records.of_address(data)) == list(anew.of_address(data))
        assert len(records) == len(anew)


@pytest.mark.parametrize(
    "name", ["256.0.0.1.in-addr.arpa", "a.0.0.1.in-addr.arpa", "1.0.ip6.arpa", "x." * 32 + "ip6.arpa"]
)
def test_what_is_no_address_backwards(name: str) -> None:
    assert reverse_data(text_name(name)) == b""
