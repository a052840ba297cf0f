"""Memory and CPU time of one process, from /proc."""

from __future__ import annotations

import os
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
