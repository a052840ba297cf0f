"""What the pods' network needs from the kernel: one bridge and one address translation rule, both marked as ours.

A further node hangs on a second bridge of this kind, `Layout.links`. The bridge carries the installation's home as its
alias, the rule as its comment. Nothing without our mark is touched, and no kernel setting is.
"""

from __future__ import annotations

import fcntl
import ipaddress
import re
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from octoedge.errors import InstallError
from octoedge.keadm.layout import Layout
from octoedge.keadm.processes import call, find_program

SLOTS = 100
SIOCBRADDBR, SIOCBRDELBR = 0x89A0, 0x89A1
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x891C
IFF_UP = 1


class Wire(Protocol):
    """A bridge with a subnet: the pods' of the first node, or the one between the nodes."""

    @property
    def home(self) -> Path: ...
    @property
    def bridge(self) -> str: ...
    @property
    def subnet(self) -> str: ...
    @property
    def gateway(self) -> str: ...


def owner(bridge: str) -> str | None:
    """The home that a bridge belongs to; empty for someone else's, None when there is no such interface."""
    try:
        return Path(f"/sys/class/net/{bridge}/ifalias").read_text().strip().removeprefix("octoedge ")
    except FileNotFoundError:
        return None


def find_slot(layout: Layout) -> Layout:
    """The first slot whose bridge name and subnet nobody uses. Raises `InstallError` when all are taken."""
    taken = _routes()
    for slot in range(SLOTS):
        candidate = replace(layout, slot=slot)
        if owner(candidate.bridge) == str(layout.home):
            return candidate
        if all(_is_free(wire, taken) for wire in (candidate, candidate.links)):
            return candidate
    raise InstallError("every pair of subnets from 10.88.77.0/24 and 10.89.77.0/24 to …176.0/24 is in use here.")


def _is_free(wire: Wire, taken: list[ipaddress.IPv4Network]) -> bool:
    subnet = ipaddress.IPv4Network(wire.subnet)
    return owner(wire.bridge) is None and not any(subnet.overlaps(route) for route in taken)


def has_bridge(wire: Wire) -> bool:
    return owner(wire.bridge) == str(wire.home) and _is_up(wire.bridge)


def add_bridge(wire: Wire) -> None:
    """Make the bridge, mark it, give it the pods' gateway address, and switch it on."""
    holder = owner(wire.bridge)
    if holder is not None and not _is_ours(wire):
        raise InstallError(f"the interface {wire.bridge} belongs to {holder or 'someone else'}; it is left alone.")
    name = wire.bridge.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        if holder is None:
            fcntl.ioctl(control, SIOCBRADDBR, name + b"\0")
        Path(f"/sys/class/net/{wire.bridge}/ifalias").write_text(f"octoedge {wire.home}")
        fcntl.ioctl(control, SIOCSIFADDR, _request(name, _address(wire.gateway)))
        fcntl.ioctl(control, SIOCSIFNETMASK, _request(name, _address("255.255.255.0")))
        _switch(control, name, on=True)


def remove_bridge(wire: Wire) -> None:
    """Take our bridge away; someone else's of that name stays."""
    if not _is_ours(wire):
        return
    name = wire.bridge.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _switch(control, name, on=False)
        fcntl.ioctl(control, SIOCBRDELBR, name + b"\0")


def _is_ours(wire: Wire) -> bool:
    """Marked as ours; or off, empty and of our name: made by an `up` that was killed before it could mark it."""
    holder = owner(wire.bridge)
    ports = Path(f"/sys/class/net/{wire.bridge}/brif")
    unmarked = holder == "" and ports.is_dir() and not any(ports.iterdir()) and not _is_up(wire.bridge)
    return holder == str(wire.home) or unmarked


def has_rule(wire: Wire, through: Sequence[str] = ()) -> bool:
    """Whether packets of the subnet get an address by which they come back; `through` enters a namespace."""
    return has(_rule(wire), through)


def add_rule(wire: Wire, through: Sequence[str] = ()) -> None:
    iptables("-A", _rule(wire), through)


def remove_rule(wire: Wire) -> None:
    remove(_rule(wire))


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of iptables."""

    table: str
    chain: str
    words: tuple[str, ...]


def has(rule: Rule, through: Sequence[str] = ()) -> bool:
    try:
        iptables("-C", rule, through)
    except InstallError:
        return False
    return True


def remove(rule: Rule, through: Sequence[str] = ()) -> None:
    """As often as it is there."""
    while has(rule, through):
        iptables("-D", rule, through)


def iptables(action: str, rule: Rule, through: Sequence[str] = ()) -> None:
    """Do it with that rule; `through` enters a network namespace. Raises `InstallError`."""
    program = find_program("iptables") or "iptables"
    call((*through, program, "-w", "5", "-t", rule.table, action, rule.chain, *rule.words))


def host_ports() -> set[int]:
    """Ports of this machine that rules lead elsewhere, as those of pods' host ports; no socket shows them."""
    program = find_program("iptables") or "iptables"
    return ports_in(call((program, "-w", "5", "-t", "nat", "-S")))


def ports_in(rules: str) -> set[int]:
    """Destination ports that `iptables -S` names: `--dport 80`, `--dports 80,443`."""
    lists = re.findall(r"--dports? ([\d,]+)", rules)
    return {int(port) for ports in lists for port in ports.split(",") if port}


def forwards() -> bool:
    """Whether the kernel passes packets between interfaces; only asked, never changed."""
    return Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1"


def addresses() -> list[str]:
    """This machine's own IPv4 addresses, the one of the default route first, without loopback and our bridges."""
    found = {name: _interface_address(name) for _, name in socket.if_nameindex()}
    first = _default_interface()
    ordered = sorted(found, key=lambda name: (name != first, name))
    return [address for name in ordered if (address := found[name]) and not _is_internal(name)]


def _is_internal(name: str) -> bool:
    return name == "lo" or bool((owner(name) or "").startswith("/"))


def _rule(wire: Wire) -> Rule:
    words = ("-s", wire.subnet, "!", "-o", wire.bridge, *mark(wire.home), "-j", "MASQUERADE")
    return Rule("nat", "POSTROUTING", words)


def mark(home: Path) -> tuple[str, ...]:
    """What shows in `iptables -S` whose rule it is."""
    return "-m", "comment", "--comment", f"octoedge {home}"


def _routes() -> list[ipaddress.IPv4Network]:
    """Every network that the kernel has a route to, the default route left out."""
    found = []
    for fields in _route_table():
        mask = _from_hex(fields[7])
        if int(mask):
            found.append(ipaddress.IPv4Network(f"{_from_hex(fields[1])}/{mask}", strict=False))
    return found


def _default_interface() -> str:
    defaults = [(int(fields[6]), fields[0]) for fields in _route_table() if fields[1] == fields[7] == "00000000"]
    return min(defaults)[1] if defaults else ""


def _route_table() -> list[list[str]]:
    return [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]


def _from_hex(text: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(text), "little"))


def _interface_address(name: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            answer = fcntl.ioctl(control, 0x8915, struct.pack("256s", name.encode()[:15]))
        except OSError:
            return ""
    return socket.inet_ntoa(answer[20:24])


def _is_up(name: str) -> bool:
    return bool(int(Path(f"/sys/class/net/{name}/flags").read_text(), 16) & IFF_UP)


def _switch(control: socket.socket, name: bytes, *, on: bool) -> None:
    answer = fcntl.ioctl(control, SIOCGIFFLAGS, _request(name, b""))
    flags: int = struct.unpack("H", answer[16:18])[0]
    wanted = flags | IFF_UP if on else flags & ~IFF_UP
    fcntl.ioctl(control, SIOCSIFFLAGS, _request(name, struct.pack("H", wanted)))


def _request(name: bytes, value: bytes) -> bytes:
    """A `struct ifreq`."""
    return struct.pack("16s24s", name, value)


def _address(text: str) -> bytes:
    """A `struct sockaddr_in`."""
    return struct.pack("=HH4s", socket.AF_INET, 0, socket.inet_aton(text))
