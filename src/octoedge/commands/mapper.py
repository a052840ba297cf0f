"""`octoedge-mapper`: run a mapper, or a simulated device to try it with.

octoedge-mapper run thermometer.py            one file with a subclass of Mapper
octoedge-mapper run modbus                    an installed protocol, by the visitors of its devices alone
octoedge-mapper simulate modbus --port 5502   a thermometer on a real Modbus server
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from octoedge.errors import ConfigError, OctoedgeError
from octoedge.runtime import logs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the subcommand; returns the exit status."""
    parsed = _parser().parse_args(arguments)
    logs.set_up(parsed.log_level)
    try:
        asyncio.run(_until_told(parsed.work(parsed)))
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
    run.add_argument("--http-port", type=int, default=7777, help="port of the REST door; 0 for none")
    run.set_defaults(work=_run)
    simulate = commands.add_parser("simulate", help="a simulated device on a real server of its protocol")
    simulate.add_argument("protocol", choices=("modbus",))
    simulate.add_argument("--host", default="127.0.0.1")
    simulate.add_argument("--port", type=int, default=5502)
    simulate.add_argument("--serial", default="", help="a serial line instead of TCP")
    simulate.add_argument("--unit", type=int, default=1, help="slave id")
    simulate.set_defaults(work=_simulate)
    return parser


async def _run(arguments: argparse.Namespace) -> None:
    from octoedge.mappers import run

    edgecore = arguments.edgecore or _edgecore()
    settings = run.Settings(edgecore, arguments.socket, arguments.name, arguments.http_host, arguments.http_port)
    await run.serve(run.load(arguments.what), settings)


async def _simulate(arguments: argparse.Namespace) -> None:
    try:
        from octoedge.mappers.modbus import simulator
    except ImportError as error:
        raise ConfigError(f"simulating Modbus needs a package that is not installed ({error}); "
                          "`pip install 'octoedge[modbus]'`") from error  # fmt: skip
    device = simulator.Thermometer()
    try:
        if arguments.serial:
            print(f"a Modbus thermometer as unit {arguments.unit} on {arguments.serial}; Ctrl-C ends it")
            await simulator.serve_serial(device, arguments.serial, unit=arguments.unit)
        else:
            print(f"a Modbus thermometer as unit {arguments.unit} at {arguments.host}:{arguments.port}; Ctrl-C ends it")
            await simulator.serve_tcp(device, arguments.host, arguments.port, unit=arguments.unit)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"the simulated device cannot be served: {error}") from error


def _edgecore() -> Path:
    """The socket of the node that `octoedge up` set up, else the system's."""
    from octoedge.edge.devicetwin.devicetwin import SOCKET
    from octoedge.keadm import layout

    known = layout.load(os.environ)
    return (known.edge if known is not None else Path("/etc/kubeedge")) / SOCKET


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """Run until it ends, or SIGTERM or SIGINT comes."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work, name="work")
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task


if __name__ == "__main__":
    sys.exit(main())
