"""Memory and CPU time of one process, from /proc; bytes of connections, from the kernel."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB; `private` is what the process alone holds (anonymous memory), the honest figure for a small device."""

    rss: float
    pss: float
    private: float


def memory(pid: int) -> Memory:
    """What `pid` holds right now."""
    kib: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        kib[name] = int(rest.split()[0])
    return Memory(rss=kib["Rss"] / 1024, pss=kib["Pss"] / 1024, private=kib["Anonymous"] / 1024)


def cpu_seconds(pid: int) -> float:
    """User and system time that `pid` has used since it began."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def traffic(ports: Iterable[int]) -> int:
    """Bytes that open connections to these ports have carried, both ways, TLS included (without TCP's own headers)."""
    wanted = " or ".join(f"dport = :{port}" for port in ports)
    listed = subprocess.run(["ss", "-tinH", f"( {wanted} )"], capture_output=True, text=True, check=True, timeout=10)
    return sum(int(number) for number in re.findall(r"bytes_(?:sent|received):(\d+)", listed.stdout))
