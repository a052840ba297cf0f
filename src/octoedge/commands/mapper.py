"""`octoedge-mapper`: run a mapper, or a simulated device to try it with.

octoedge-mapper run thermometer.py            one file with a subclass of Mapper
octoedge-mapper run modbus                    an installed protocol, by the visitors of its devices alone
octoedge-mapper run modbus --simulate 5502    the same, and a thermometer to read, in one process
octoedge-mapper new boiler                    the beginning of a mapper of one's own: boiler.py, boiler.yaml
octoedge-mapper test boiler.py                how it stands slow, absent, flapping, wrong devices, kills, a thousand
octoedge-mapper image boiler.py -o boiler.tar an image of it for containers, without a registry
octoedge-mapper simulate modbus               a thermometer on a real Modbus server, at port 5502 or --port
octoedge-mapper simulate http                 an energy meter on a real HTTP server, at port 8088
octoedge-mapper simulate opcua                a pump on a real OPC UA server, at port 4840
octoedge-mapper simulate mqtt                 a valve at the MQTT broker of port 1883
octoedge-mapper simulate ble                  sensors behind a BlueZ without a radio, on a D-Bus of its own
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from octoedge.commands import ending
from octoedge.errors import ConfigError, DeviceError, OctoedgeError, first_of
from octoedge.runtime import logs, openfiles


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the subcommand; returns the exit status."""
    parsed = _parser().parse_args(arguments)
    logs.set_up(parsed.log_level)
    openfiles.allow_many()  # a connection for each device
    try:
        work = parsed.work(parsed)
        if work is not None:
            with ending.orderly():
                asyncio.run(_until_told(work))
    except OctoedgeError as problem:
        print(f"octoedge-mapper: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="octoedge-mapper", description="Bring devices to an edge node.")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="run a mapper: a Python file, or an installed protocol")
    run.add_argument("what", metavar="FILE|PROTOCOL")
    run.add_argument("--edgecore", type=Path, default=None, help="EdgeCore's dmi.sock; found when not given")
    run.add_argument("--socket", type=Path, default=None, help="the mapper's own socket; beside EdgeCore's by default")
    run.add_argument("--name", default="", help="under which EdgeCore knows it; <protocol>-mapper by default")
    run.add_argument("--http-host", default="127.0.0.1", help="address of the REST door")
    run.add_argument("--http-port", type=_port, default=7777, help="port of the REST door (7777); 0 for none")
    run.add_argument(
        "--simulate", type=_port, metavar="PORT", help="Modbus: also play a thermometer at this port of the loopback"
    )
    run.set_defaults(work=_run)
    simulate = commands.add_parser("simulate", help="a simulated device on a real server of its protocol")
    simulate.add_argument("protocol", choices=tuple(_SIMULATORS))
    simulate.add_argument("--host", default="127.0.0.1")
    ports = ", ".join(f"{port} for {name}" for name, port in _PORTS.items())
    simulate.add_argument("--port", type=_port, default=None, help=f"{ports}, when not given")
    simulate.add_argument("--serial", default="", help="Modbus: a serial line instead of TCP")
    simulate.add_argument("--unit", type=int, default=1, help="Modbus: slave id")
    simulate.set_defaults(work=_simulate)
    test = commands.add_parser("test", help="the conformance kit: how a mapper stands devices that fail")
    test.add_argument("what", metavar="FILE|PROTOCOL")
    test.add_argument("--devices", type=int, metavar="N", help="so many instead of a thousand, or of what its rig says")
    test.set_defaults(work=_test)
    text = "an image archive of a mapper, made of what is installed here"
    image = commands.add_parser("image", help=text, description=text)
    image.add_argument("what", metavar="FILE|PROTOCOL")
    image.add_argument("-o", "--output", type=Path, metavar="FILE.tar", help="the archive; <FILE>.tar by default")
    image.add_argument("--name", metavar="NAME:TAG", help="octoedge.local/<FILE>-mapper:1 by default")
    image.add_argument(
        "--with",
        dest="more",
        action="append",
        default=[],
        metavar="PACKAGE[EXTRA]",
        help="an installed package to take along",
    )
    image.set_defaults(work=_image)
    new = commands.add_parser("new", help="begin a mapper of one's own")
    new.add_argument("name", metavar="NAME", help="of the protocol; the files are NAME.py and NAME.yaml")
    new.set_defaults(work=_new)
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port, 0 to 65535")
    return int(text)


async def _run(arguments: argparse.Namespace) -> None:
    from octoedge.mappers.framework import run

    edgecore = arguments.edgecore or _edgecore()
    mapper, file = run.load(arguments.what), Path(arguments.what)
    settings = run.Settings(
        edgecore, arguments.socket, arguments.name, arguments.http_host, arguments.http_port,
        file if file.suffix == ".py" else None,
    )  # fmt: skip
    serving = run.serve(mapper, settings)
    if arguments.simulate is None:
        await serving
        return
    async with asyncio.TaskGroup() as group:
        group.create_task(_simulated(_simulate_thermometer(arguments.simulate), "modbus"), name="thermometer")
        group.create_task(serving, name="mapper")


def _image(arguments: argparse.Namespace) -> None:
    from octoedge.commands import mapperimage

    output = arguments.output or Path(f"{Path(arguments.what).stem}.tar")
    print(f"{output}: made of what is installed here …", flush=True)
    with ending.unwinding():
        made = mapperimage.make(arguments.what, output.absolute(), arguments.name or "", arguments.more)
    print(f"{output}: {made}")
    print(f"`octoedge image import {output}` brings it onto a node")


async def _test(arguments: argparse.Namespace) -> None:
    from octoedge.mappers.kit import run

    try:
        failed = await run.judge(arguments.what, lambda line: print(line, flush=True), arguments.devices)
    except asyncio.CancelledError as error:
        raise DeviceError(f"the test of {arguments.what} was stopped before its end") from error
    if failed:
        raise DeviceError(f"{arguments.what} fails {failed} of {len(run.CHECKS)} checks")


async def _simulate(arguments: argparse.Namespace) -> None:
    if arguments.port is None:
        arguments.port = _PORTS.get(arguments.protocol, 0)
    await _simulated(_SIMULATORS[arguments.protocol](arguments), arguments.protocol)


async def _simulate_thermometer(port: int) -> None:
    from octoedge.mappers.modbus import simulator

    _check("127.0.0.1", port)
    await simulator.serve_tcp(simulator.Thermometer(), "127.0.0.1", port)


async def _simulated(device: Coroutine[Any, Any, None], protocol: str) -> None:
    """Serve it. Raises `ConfigError` that says what to do when it cannot be."""
    try:
        await device
    except ImportError as error:
        hint = f"`pip install 'octoedge[{protocol}]'`"
        raise ConfigError(f"the simulator needs a package that is not installed ({error}); {hint}") from error
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"the simulated device cannot be served: {error}") from error


def _check(host: str, port: int) -> None:
    """Whether a device can be served there, since not every library says why not. Raises `ConfigError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"no device can be simulated at {host}:{port}: {error.strerror}; choose another address or port"
            ) from error


class _There(asyncio.Event):
    """Says where the device is once it is there, and not before."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = device

    def set(self) -> None:
        super().set()
        print(f"{self._device}; Ctrl-C ends it", flush=True)


async def _simulate_modbus(arguments: argparse.Namespace) -> None:
    from octoedge.mappers.modbus import simulator

    device, unit, host, port = simulator.Thermometer(), arguments.unit, arguments.host, arguments.port
    if arguments.serial:
        there = _There(f"a Modbus thermometer as unit {unit} on {arguments.serial}")
        await simulator.serve_serial(device, arguments.serial, unit=unit, ready=there)
    else:
        _check(host, port)
        there = _There(f"a Modbus thermometer as unit {unit} at {host}:{port}")
        await simulator.serve_tcp(device, host, port, unit=unit, ready=there)


async def _simulate_http(arguments: argparse.Namespace) -> None:
    from octoedge.mappers.http import simulator

    host, port = arguments.host, arguments.port
    _check(host, port)
    await simulator.serve(simulator.Meter(), host, port, ready=_There(f"an energy meter at http://{host}:{port}/state"))


async def _simulate_opcua(arguments: argparse.Namespace) -> None:
    from octoedge.mappers.opcua import simulator

    host, port = arguments.host, arguments.port
    _check(host, port)
    await simulator.serve(host, port, ready=_There(f"a pump at opc.tcp://{host}:{port}"))


async def _simulate_mqtt(arguments: argparse.Namespace) -> None:
    from octoedge.mappers.mqtt import simulator

    broker = f"tcp://{arguments.host}:{arguments.port}"
    print(f"a valve at the broker {broker}: valve/state, valve/set; Ctrl-C ends it", flush=True)
    await simulator.Valve().run(broker)


async def _simulate_ble(_arguments: argparse.Namespace) -> None:
    from octoedge.mappers.ble import bluez, simulator

    with tempfile.TemporaryDirectory(prefix="octoedge-ble-") as folder:
        sensor = simulator.Sensor()
        print(f"a sensor at {sensor.peripheral.address}; Ctrl-C ends it. For the mapper:")
        print(f"export DBUS_SYSTEM_BUS_ADDRESS={simulator.address(Path(folder))}", flush=True)
        await simulator.serve(bluez.Bluez(), [sensor], Path(folder))


_SIMULATORS: dict[str, Callable[[argparse.Namespace], Coroutine[Any, Any, None]]] = {
    "modbus": _simulate_modbus,
    "http": _simulate_http,
    "opcua": _simulate_opcua,
    "mqtt": _simulate_mqtt,
    "ble": _simulate_ble,
}
_PORTS = {"modbus": 5502, "http": 8088, "opcua": 4840, "mqtt": 1883}
"""Where a simulated device is, or its broker, when nobody says."""

_TAKEN = ("Bench", "Device", "DeviceError", "False", "Link", "Mapper", "None", "Point", "Rig", "True")
"""Names that mean something else in a new mapper."""


def _new(arguments: argparse.Namespace) -> None:
    name = arguments.name
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", name):
        raise ConfigError(f"the name {name[:80]!r} must be 1 to 63 small letters, digits and dashes, a letter first")
    title = "".join(word.capitalize() for word in name.split("-"))
    if title in _TAKEN:
        title += "s"
    templates = files("octoedge.mappers.framework")
    made = {
        Path(f"{name}.py"): templates.joinpath("template.txt").read_text().replace("TITLE", title),
        Path(f"{name}.yaml"): templates.joinpath("template.yaml").read_text().replace("NODE", _node()),
    }
    for file in made:
        if file.exists():
            raise ConfigError(f"{file} is there already; choose another name")
    for file, text in made.items():
        _write_new(file, text.replace("NAME", name))
    mapper, device = made
    print(f"{mapper}: fill in Link. `octoedge-mapper test {mapper}` judges it, `octoedge-mapper run {mapper}` runs it")
    print(f"{device}: a device for it. `kubectl apply -f {device}`, then `octoedge device watch {name}`")


def _write_new(file: Path, text: str) -> None:
    try:
        with file.open("x") as out:
            out.write(text)
    except FileExistsError as error:
        raise ConfigError(f"{file} is there already; choose another name") from error
    except OSError as error:
        raise ConfigError(f"{file.absolute()} cannot be written: {error.strerror}") from error


def _node() -> str:
    """The node that `octoedge up` set up, or what it would be called."""
    from octoedge.keadm import layout

    known = layout.load(os.environ)
    return known.node if known is not None else "edge-1"


def _edgecore() -> Path:
    """The socket of the node that `octoedge up` set up, else the system's."""
    from octoedge.edge.devicetwin.devicetwin import SOCKET
    from octoedge.keadm import layout

    known = layout.load(os.environ)
    return (known.edge if known is not None else Path("/etc/kubeedge")) / SOCKET


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """Run until it ends, or SIGTERM or SIGINT comes."""
    why: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work, name="work")
            ending.stop_on_signals(task.cancel)
    except* OctoedgeError as errors:
        why = first_of(errors)  # Python 3.11.2 wraps what is raised in here
    if why is not None:
        raise why from None


if __name__ == "__main__":
    sys.exit(main())
