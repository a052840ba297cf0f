"""NAT rules for mixed fleets: the plan, and real rules in a network namespace of their own."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.cloud.cloudstream.iptables import CHAIN, Iptables, planned
from octoedge.errors import InstallError

EMPTY = "-P PREROUTING ACCEPT\n-P INPUT ACCEPT\n-P OUTPUT ACCEPT\n-P POSTROUTING ACCEPT\n"
IPS = st.integers(1, 254).map(lambda last: f"192.0.2.{last}")
RECORDS = st.dictionaries(IPS, st.integers(10351, 10400), max_size=6)


def applied(now: str, commands: list[tuple[str, ...]]) -> str:
    """What `iptables -S` says afterwards."""
    lines = now.splitlines()
    for verb, chain, *rule in commands:
        if verb == "-N":
            lines.append(f"-N {chain}")
            continue
        quoted = " ".join(f'"{word}"' if " " in word else word for word in rule)
        line = f"-A {chain} {quoted}"
        if verb == "-A":
            lines.append(line)
        else:
            lines.remove(line)
    return "\n".join(lines) + "\n"


def test_the_first_rule_brings_chain_and_jumps() -> None:
    commands = planned(EMPTY, {"192.168.1.16": 10351}, 10003)
    assert [" ".join(command) for command in commands] == [
        "-N TUNNEL-PORT",
        "-A OUTPUT -m comment --comment kubeedge tunnel port -j TUNNEL-PORT",
        "-A PREROUTING -m comment --comment kubeedge tunnel port -j TUNNEL-PORT",
        "-A TUNNEL-PORT -p tcp -m tcp --dport 10351 -j DNAT --to-destination 192.168.1.16:10003",
    ]


@given(RECORDS, RECORDS)
def test_rules_follow_the_record_and_then_nothing_is_left_to_do(before: dict[str, int], after: dict[str, int]) -> None:
    foreign = EMPTY + "-N KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n"
    now = applied(foreign, planned(foreign, before, 10003))
    then = applied(now, planned(now, after, 10003))
    assert planned(then, after, 10003) == []
    assert "-A OUTPUT -j KUBE-SERVICES\n" in then
    rules = [line for line in then.splitlines() if line.startswith(f"-A {CHAIN} ")]
    assert len(rules) == len(set(after.items()))


def test_a_rule_that_is_there_twice_goes_once() -> None:
    rule = "-A TUNNEL-PORT -p tcp -m tcp --dport 10351 -j DNAT --to-destination 192.0.2.1:10003\n"
    now = applied(EMPTY, planned(EMPTY, {"192.0.2.1": 10351}, 10003)) + rule
    assert [command[0] for command in planned(now, {"192.0.2.1": 10351}, 10003)] == ["-D"]


def test_what_is_no_ipv4_address_or_port_makes_no_rule() -> None:
    commands = planned(EMPTY, {"2001:db8::1": 10351, "-j ACCEPT": 10352, "192.0.2.1": 0, "192.0.2.2": 70000}, 10003)
    assert len(commands) == 3


def test_what_cannot_be_done_is_told_with_a_way_out() -> None:
    with pytest.raises(InstallError, match=r"iptables is not installed.*octoedge\.kubeletAddress"):
        asyncio.run(Iptables(10003, ("no-such-program-here",)).reconcile({}))
    with pytest.raises(InstallError, match=r"failed: .*octoedge\.kubeletAddress"):
        asyncio.run(Iptables(10003, ("false",)).reconcile({}))


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace with addresses, and nothing behind them."""
    if os.geteuid() != 0 or not shutil.which("iptables") or not shutil.which("ip"):
        pytest.skip("needs root, iptables and ip")
    name = f"octo-nat-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for command in (
            "link set lo up", "address add 192.0.2.50/32 dev lo", "link add d0 type veth peer name d1",
            "link set d0 up", "link set d1 up", "address add 10.1.0.1/24 dev d0", "route add default dev d0",
        ):  # fmt: skip
            subprocess.run(["ip", "-n", name, *command.split()], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


DIAL = """
import socket
server = socket.create_server(("192.0.2.50", 10003))
client = socket.create_connection(("10.99.0.7", 10351), timeout=5)  # a node's address, which nobody has
accepted, _ = server.accept()
client.sendall(b"logs, please")
print(accepted.recv(100).decode())
"""


def test_real_rules_lead_to_the_stream_server_whatever_the_nodes_address(namespace: str) -> None:
    program = ("ip", "netns", "exec", namespace, "iptables")
    rules = Iptables(10003, program)
    for _ in range(2):
        asyncio.run(rules.reconcile({"192.0.2.50": 10351, "192.0.2.9": 10352}))
    listed = subprocess.run([*program, "-t", "nat", "-S", CHAIN], capture_output=True, text=True, check=True).stdout
    assert listed.count("--to-destination") == 2
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, sys.executable, "-c", DIAL], capture_output=True, text=True, check=True
    )
    assert done.stdout == "logs, please\n"
    asyncio.run(rules.reconcile({"192.0.2.50": 10351}))
    listed = subprocess.run([*program, "-t", "nat", "-S"], capture_output=True, text=True, check=True).stdout
    assert planned(listed, {"192.0.2.50": 10351}, 10003) == []
    assert "192.0.2.9" not in listed
