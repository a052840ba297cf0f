"""Both makes side by side: memory, idle processor time and traffic, and how fast pods come. `--figures` asks for it."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from octoedge.keadm.processes import Daemon
from octoedge.testing.eventually import eventually
from octoedge.testing.peers.cell import Cell

from .cases import SECOND

IDLE_SECONDS = 60.0
PODS = 5
MIB = 1 << 20


def measure(cell: Cell) -> dict[str, str]:
    """What a quiet cell with one pod weighs, and how long a pod and a restart take."""
    time.sleep(15)  # what the cases set in motion comes to rest
    found = {**_idle(cell), **_memory("CloudCore", cell.cloud.cloudcore), **_memory("EdgeCore", cell.edge.edgecore)}
    came, went = zip(*(_pod(cell, f"timed-{number}") for number in range(PODS)), strict=True)
    found["apply → Ready, median of 5"] = f"{statistics.median(came):.2f} s"
    found["delete → gone, median of 5"] = f"{statistics.median(went):.2f} s"
    began = time.monotonic()
    cell.edge.restart()
    cell.await_contact()
    found["EdgeCore stopped, started, heard of"] = f"{time.monotonic() - began:.1f} s"
    return found


def _idle(cell: Cell) -> dict[str, str]:
    daemons = {"CloudCore": cell.cloud.cloudcore, "EdgeCore": cell.edge.edgecore}
    port = Path("/sys/class/net", cell.edge.node.links.port(cell.edge.node.number), "statistics")
    counters = [port / "rx_bytes", port / "tx_bytes"]
    before = [_seconds(daemon) for daemon in daemons.values()], [int(file.read_text()) for file in counters]
    time.sleep(IDLE_SECONDS)
    after = [_seconds(daemon) for daemon in daemons.values()], [int(file.read_text()) for file in counters]
    shares = [(now - then) / IDLE_SECONDS for now, then in zip(after[0], before[0], strict=True)]
    up, down = (now - then for now, then in zip(after[1], before[1], strict=True))
    found = {f"{name}: idle, of a core": f"{share:.2%}" for name, share in zip(daemons, shares, strict=True)}
    return {**found, "idle traffic up, down": f"{up / IDLE_SECONDS:.0f}, {down / IDLE_SECONDS:.0f} B/s"}


def _memory(name: str, daemon: Daemon) -> dict[str, str]:
    lines = Path(f"/proc/{daemon.pid()}/status").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "RssAnon"))}
    whole, anonymous = (int(sizes[key]) * 1024 / MIB for key in ("VmRSS", "RssAnon"))
    return {f"{name}: resident, of it anonymous": f"{whole:.0f}, {anonymous:.0f} MiB"}


def _seconds(daemon: Daemon) -> float:
    """Processor time so far."""
    fields = Path(f"/proc/{daemon.pid()}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pod(cell: Cell, name: str) -> tuple[float, float]:
    began = time.monotonic()
    cell.apply(SECOND.replace("NAME", name))
    cell.await_ready(name)
    came = time.monotonic()
    cell.kubectl("delete", "pod", name, "--wait=false")
    eventually(lambda: f'"{name}" not found' in cell.try_kubectl("get", "pod", name)[2], within=60)
    return came - began, time.monotonic() - came
