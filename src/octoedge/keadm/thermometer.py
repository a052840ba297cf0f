"""The sample's device: a simulated thermometer and the Modbus mapper, one process beside the first node.

    thermometer.yaml ──► DeviceModel, Device ──► EdgeCore ◄─DMI─► mapper ◄─Modbus/TCP─► simulated registers

The process belongs to the installation: `octoedge up` starts it again, `octoedge down` ends it. The objects are the
user's. The mapper serves every further Device of the protocol `modbus` on that node too.
"""

from __future__ import annotations

import importlib.util
import json
from importlib.resources import files
from typing import Any

from octoedge.errors import InstallError
from octoedge.keadm import cluster
from octoedge.keadm.host import Listener, is_free
from octoedge.keadm.layout import Layout
from octoedge.keadm.processes import Daemon, program

NAME = "thermometer"
ROOT = "/apis/devices.kubeedge.io/v1beta1/namespaces/default"
FIRST_PORT = 5502
TRIED = 200


def installed() -> bool:
    """Whether the packages are there that it needs."""
    return importlib.util.find_spec("pymodbus") is not None


def daemon(node: Layout, port: int) -> Daemon:
    """The simulated device and its mapper."""
    command = (
        program("octoedge-mapper"), "run", "modbus", "--edgecore", str(node.edge / "dmi.sock"), "--http-port", "0",
        "--simulate", str(port),
    )  # fmt: skip
    return Daemon(NAME, command, node.run, node.logs)


def free_port(offset: int, count: int = TRIED) -> int:
    """A port for the simulated device. Raises `InstallError`."""
    first = min(FIRST_PORT + offset, 65536 - count)
    found = next((port for port in range(first, first + count) if is_free(Listener(port, NAME))), None)
    if found is None:
        raise InstallError(f"no port from {first} to {first + count - 1} is free for the simulated device")
    return found


def objects(node: str, port: int) -> list[tuple[str, dict[str, Any]]]:
    """Collection and object, in the order in which they are made."""
    import yaml  # what else is here must work before packages are installed

    model, device = yaml.safe_load_all(files("octoedge.keadm").joinpath("thermometer.yaml").read_text())
    device["spec"]["nodeName"] = node
    device["spec"]["protocol"]["configData"]["port"] = port
    return [(f"{ROOT}/devicemodels", model), (f"{ROOT}/devices", device)]


def is_there(api: cluster.Server) -> bool:
    """Whether the user has left the Device. Raises `InstallError`."""
    return api.find(f"{ROOT}/devices/{NAME}") is not None


def port_of(api: cluster.Server) -> int | None:
    """Where the Device that is there is looked for; None when there is none, or it names no port."""
    try:
        return int(json.loads(api.find(f"{ROOT}/devices/{NAME}") or b"{}")["spec"]["protocol"]["configData"]["port"])
    except (ValueError, KeyError, TypeError):
        return None
