"""What a pod's limits are to the kernel: files of cgroup version 1 and 2, properties of a systemd slice. Pure.

Version 1 runs where this was built; version 2 and systemd are proved by golden files against what the kubelet writes.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

PERIOD = 100_000
_MOST_WEIGHT, _MOST_SHARES = 10_000, 262_144


class PodLimits(msgspec.Struct, frozen=True):
    """Limits of a whole pod; 0: none."""

    shares: int = 0
    quota: int = 0
    """Microseconds of processor time a period."""
    memory: int = 0
    pids: int = 0
    hugepages: dict[str, int] = {}
    """Bytes by page size, named as the kernel does: 2MB, 1GB."""


def version_1(limits: PodLimits) -> dict[str, list[tuple[str, str]]]:
    """(file, text) by controller."""
    pages = [(f"hugetlb.{size}.limit_in_bytes", str(amount)) for size, amount in sorted(limits.hugepages.items())]
    files = {
        "cpu": [
            ("cpu.shares", _text(limits.shares)),
            ("cpu.cfs_period_us", str(PERIOD) if limits.quota else ""),
            ("cpu.cfs_quota_us", _text(limits.quota)),
        ],
        "memory": [("memory.limit_in_bytes", _text(limits.memory))],
        "pids": [("pids.max", _text(limits.pids))],
        "hugetlb": pages,
    }
    return {controller: [pair for pair in pairs if pair[1]] for controller, pairs in files.items()}


def version_2(limits: PodLimits) -> list[tuple[str, str]]:
    """(file, text) of the one hierarchy."""
    files = [
        ("cpu.weight", _text(weight(limits.shares))),
        ("cpu.max", f"{limits.quota} {PERIOD}" if limits.quota else ""),
        ("memory.max", _text(limits.memory)),
        ("pids.max", _text(limits.pids)),
    ]
    files += [(f"hugetlb.{size}.max", str(amount)) for size, amount in sorted(limits.hugepages.items())]
    return [pair for pair in files if pair[1]]


def slice_name(path: str) -> str:
    """A cgroup path as the name of a slice: /octoedge/burstable/pod1-2 → octoedge-burstable-pod1_2.slice."""
    return "-".join(part.replace("-", "_") for part in path.strip("/").split("/")) + ".slice"


def slice_path(path: str) -> str:
    """Where systemd keeps that slice: each slice lies in the one that its name begins with."""
    parts = [part.replace("-", "_") for part in path.strip("/").split("/")]
    return "/" + "/".join("-".join(parts[: count + 1]) + ".slice" for count in range(len(parts)))


def systemd_start(path: str, limits: PodLimits, *, unified: bool) -> list[Sequence[str]]:
    """Commands that make a pod's slice and limit it, until the next boot."""
    weight_name, shown = ("CPUWeight", weight(limits.shares)) if unified else ("CPUShares", limits.shares)
    memory = "MemoryMax" if unified else "MemoryLimit"
    properties = [
        f"{weight_name}={shown}" if limits.shares else "",
        f"CPUQuota={limits.quota * 100 / PERIOD:g}%" if limits.quota else "",
        f"{memory}={limits.memory}" if limits.memory else "",
        f"TasksMax={limits.pids}" if limits.pids else "",
    ]
    wanted = [text for text in properties if text]
    name = slice_name(path)
    commands: list[Sequence[str]] = [("systemctl", "start", name)]
    return [*commands, ("systemctl", "set-property", "--runtime", name, *wanted)] if wanted else commands


def systemd_stop(path: str) -> Sequence[str]:
    """The command that ends a pod's slice with all in it."""
    return ("systemctl", "stop", slice_name(path))


def weight(shares: int) -> int:
    """cgroup version 2's weight for version 1's shares, as the kubelet converts."""
    if not shares:
        return 0
    return 1 + (min(max(shares, 2), _MOST_SHARES) - 2) * (_MOST_WEIGHT - 1) // (_MOST_SHARES - 2)


def _text(number: int) -> str:
    return str(number) if number else ""
