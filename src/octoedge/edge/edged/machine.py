"""What the node object says of the machine: read once or cheaply from the system."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path

import msgspec

from octoedge.api.core import NodeSystemInfo
from octoedge.version import VERSION

KUBERNETES = "1.32.10"
"""The Kubernetes whose kubelet edged takes the place of."""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386"}


class Machine(msgspec.Struct, frozen=True):
    """Facts that do not change while the agent runs."""

    architecture: str
    kernel: str
    os_image: str
    machine_id: str
    system_uuid: str
    boot_id: str
    cpus: int
    memory: int
    hugepages: dict[str, int] = {}
    """Bytes by resource name (hugepages-2Mi)."""

    def info(self, runtime: str) -> NodeSystemInfo:
        """nodeInfo with the runtime's name and version (`containerd://1.7.2`)."""
        return NodeSystemInfo(
            machine_id=self.machine_id,
            system_uuid=self.system_uuid,
            boot_id=self.boot_id,
            kernel_version=self.kernel,
            os_image=self.os_image,
            container_runtime_version=runtime,
            kubelet_version=f"v{KUBERNETES}-octoedge-v{VERSION}",
            kube_proxy_version="",
            operating_system="linux",
            architecture=self.architecture,
        )


def read_machine() -> Machine:
    """The machine this process runs on."""
    system = platform.uname()
    machine_id = _text("/etc/machine-id")
    return Machine(
        architecture=_ARCHITECTURES.get(system.machine, system.machine),
        kernel=system.release,
        os_image=_os_image(),
        machine_id=machine_id,
        system_uuid=_text("/sys/class/dmi/id/product_uuid") or machine_id,
        boot_id=_text("/proc/sys/kernel/random/boot_id"),
        cpus=len(os.sched_getaffinity(0)),
        memory=memory()[0],
        hugepages=hugepages(),
    )


def hugepages(folder: Path = Path("/sys/kernel/mm/hugepages")) -> dict[str, int]:
    """Bytes set aside for pages of each size that the processor has, by resource name."""
    found: dict[str, int] = {}
    for path in sorted(folder.glob("hugepages-*kB")):
        size = int(path.name.removeprefix("hugepages-").removesuffix("kB")) << 10
        shown = f"{size >> 30}Gi" if size >= 1 << 30 else f"{size >> 20}Mi" if size >= 1 << 20 else f"{size >> 10}Ki"
        found[f"hugepages-{shown}"] = size * int(_text(str(path / "nr_hugepages")) or 0)
    return found


def memory() -> tuple[int, int]:
    """Bytes of memory: all, and what is available without swapping."""
    amounts: dict[str, int] = {}
    for line in _text("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name in ("MemTotal", "MemAvailable"):
            amounts[name] = int(rest.split()[0]) * 1024
    return amounts.get("MemTotal", 0), amounts.get("MemAvailable", 0)


class Disk(msgspec.Struct, frozen=True):
    """A file system: bytes and inodes, all and free."""

    size: int
    free: int
    inodes: int
    inodes_free: int


def disk(path: Path) -> Disk:
    """The file system that holds `path`; missing directories are looked past."""
    while not path.exists() and path != path.parent:
        path = path.parent
    stat = os.statvfs(path)
    return Disk(stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize, stat.f_files, stat.f_favail)


def processes() -> tuple[int, int]:
    """How many process ids exist and how many there can be."""
    running = _text("/proc/loadavg").split()
    used = int(running[3].partition("/")[2]) if len(running) > 3 else 0
    return used, int(_text("/proc/sys/kernel/pid_max") or 32768)


def enforces_apparmor() -> bool:
    """Whether the kernel enforces AppArmor profiles."""
    return _text("/sys/module/apparmor/parameters/enabled") == "Y"


def default_address() -> str:
    """The address that the default route leaves from; empty when there is none."""
    for target in ("192.0.2.1", "10.255.255.255"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))  # Connecting a UDP socket sends nothing; it only asks the routing table.
                address = str(probe.getsockname()[0])
            except OSError:
                continue
            if not address.startswith(("127.", "0.")):
                return address
    return _any_address()


def interface_address(name: str) -> str:
    """The IPv4 address of a network interface; empty when it has none."""
    import fcntl
    import struct

    siocgifaddr = 0x8915
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, siocgifaddr, struct.pack("256s", name[:15].encode()))
        except OSError:
            return ""
    return socket.inet_ntoa(answer[20:24])


def _any_address() -> str:
    for _, name in socket.if_nameindex():
        address = interface_address(name)
        if address and not address.startswith("127."):
            return address
    return "127.0.0.1"


def _os_image() -> str:
    for line in _text("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip('"')
    return "Linux"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
