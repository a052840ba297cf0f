"""A pod with a network of its own, and a machine whose kernel settings stay as they were."""

from __future__ import annotations

import ipaddress
import subprocess
from pathlib import Path

from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation, fetch

from .pods import await_ready

POD = """
apiVersion: v1
kind: Pod
metadata: {name: networked}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: octoedge.local/hello:1
    imagePullPolicy: IfNotPresent
    env: [{name: PORT, value: "8080"}]
    ports: [{containerPort: 8080, hostPort: 30081}]
"""
SETTINGS = ("net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet", "net/ipv4/conf/all/rp_filter", "kernel/hostname")


def settings() -> dict[str, str]:
    """What the kernel is set to."""
    return {name: Path("/proc/sys", name).read_text() for name in SETTINGS}


def rules() -> str:
    """All address translation rules."""
    command = ("iptables", "-w", "5", "-t", "nat", "-S")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_pod_has_an_address_and_a_port_of_the_node(installation: Installation) -> None:
    before = settings()
    installation.kubectl("apply", "-f", "-", stdin=POD).check()
    found = await_ready(installation, "networked")
    address = found["status"]["podIP"]
    assert ipaddress.ip_address(address) in ipaddress.ip_network(installation.layout.subnet)
    assert found["status"]["hostIP"] != address
    assert "hello from" in eventually(lambda: fetch(f"http://{address}:8080/"))
    assert "hello from" in eventually(lambda: fetch("http://127.0.0.1:30081/"))
    assert settings() == before
    assert installation.kubectl("logs", "networked").check().startswith("hello from networked:")

    installation.kubectl("delete", "pod", "networked").check()
    eventually(rules, lambda text: "30081" not in text and address not in text)
    leases = installation.layout.cni / "addresses" / f"octoedge{installation.layout.suffix}"
    assert not (leases / address).exists()
