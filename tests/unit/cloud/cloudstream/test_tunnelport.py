"""The tunnel port of KubeEdge: the record that CloudCores share, and what comes of it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.cloud.cloudstream.tunnelport import ANNOTATION, Record, TunnelPorts
from octoedge.errors import InstallError, MessageError
from octoedge.kube.kinds import CONFIGMAPS, NODES
from octoedge.testing.clock import run
from octoedge.testing.kube import MemoryApi

THEIRS = '{"ipTunnelPort":{"192.168.1.16":10351,"192.168.1.17":10352},"port":{"10351":true,"10352":true}}'


def test_kubeedges_record_is_read_and_written() -> None:
    record = Record.parse(THEIRS)
    assert record.claim("192.168.1.17") == (10352, record)
    port, after = record.claim("192.168.1.18")
    assert port == 10353
    assert Record.parse(after.text()) == after
    assert record.text() == THEIRS
    assert Record.parse("").claim("10.0.0.1")[0] == 10351


@given(st.lists(st.sampled_from("abcdefgh"), max_size=20))
def test_no_port_is_given_twice_and_each_keeps_its_own(names: list[str]) -> None:
    record = Record()
    given_ports: dict[str, int] = {}
    for name in names:
        port, record = record.claim(name)
        assert given_ports.setdefault(name, port) == port
    assert len(set(given_ports.values())) == len(given_ports)


@pytest.mark.parametrize("text", ["{", "[]", '{"ipTunnelPort":{"a":"b"}}'])
def test_what_is_no_record_is_told(text: str) -> None:
    with pytest.raises(MessageError, match=ANNOTATION):
        Record.parse(text)


def test_a_port_is_claimed_written_into_nodes_and_made_a_rule() -> None:
    async def main() -> None:
        api = MemoryApi()
        client = api.client()
        rules: list[dict[str, int]] = []

        async def reconcile(wanted: dict[str, int]) -> None:
            rules.append(wanted)
            if len(rules) == 1:
                raise InstallError("iptables failed")

        ports = TunnelPorts(client, "192.0.2.1", reconcile)
        task = asyncio.create_task(ports.run(lambda: None))
        ports.opened("edge-1")
        await asyncio.sleep(5)
        assert ports.port == 10351
        node = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "edge-1"}, "status": {}}
        await client.create(NODES, "", msgspec.json.encode(node))
        await asyncio.sleep(20)
        status = msgspec.json.decode(await client.get(NODES, "", "edge-1"))["status"]
        assert status["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10351}}
        config_map = msgspec.json.decode(await client.get(CONFIGMAPS, "kubeedge", "tunnelport"))
        assert Record.parse(config_map["metadata"]["annotations"][ANNOTATION]).ip_tunnel_port == {"192.0.2.1": 10351}
        other = TunnelPorts(client, "192.0.2.2", None)
        second = asyncio.create_task(other.run(lambda: None))
        await asyncio.sleep(20)
        assert other.port == 10352
        assert rules[-1] == {"192.0.2.1": 10351, "192.0.2.2": 10352}
        task.cancel()
        second.cancel()
        await asyncio.wait([task, second])

    run(main())
