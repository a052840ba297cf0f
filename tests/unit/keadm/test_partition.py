"""Both ways are dropped, on the ports that edges use, and only between this node and its cloud."""

from __future__ import annotations

from pathlib import Path

from octoedge.keadm.layout import Layout
from octoedge.keadm.partition import rules

FIRST = Layout(Path("/h"), offset=100)


def test_a_further_node_is_cut_off_at_its_cable() -> None:
    node = FIRST.further("edge-2", 2)
    found = [(rule.chain, rule.words) for rule in rules(node)]
    came = [words for chain, words in found if chain == "PREROUTING"]
    went = [words for chain, words in found if chain == "POSTROUTING"]
    assert all(words[:4] == ("-i", "eth0", "-p", "tcp") for words in came), "whatever the cloud's address"
    assert all(words[:4] == ("-o", "eth0", "-p", "tcp") for words in went)
    ports = {"10100", "10102", "10103", "10104", "6543"}
    assert {words[5] for words in came} == {words[5] for words in went} == ports


def test_of_the_first_node_only_edgecores_ports_on_the_loopback_are_closed() -> None:
    words = [rule.words for rule in rules(FIRST)]
    assert all(part[:4] == ("-i", "lo", "-s", "127.0.0.1") for part in words)
    assert {(part[6], part[7]) for part in words} == {
        (side, port) for side in ("--sport", "--dport") for port in ("10100", "10102", "10104")
    }


def test_every_rule_drops_and_says_whose_it_is() -> None:
    for rule in (*rules(FIRST), *rules(FIRST.further("edge-2", 2))):
        assert rule.words[-2:] == ("-j", "DROP")
        assert any(word.startswith("octoedge /h") for word in rule.words)
