"""`octoedge device demo`: a simulated thermometer, its mapper and its objects, until Ctrl-C; then all of it goes again.

    Modbus server ◄─► mapper ◄─► the first node's EdgeCore ◄─► CloudCore ◄─► Device, DeviceStatus ─► a line per value

Both run in this process; only the objects are in the cluster, under the name `thermometer` (--keep leaves them there).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from typing import Any

from octoedge.errors import ConfigError
from octoedge.keadm import cluster, thermometer
from octoedge.keadm.layout import Layout

NAME = thermometer.NAME


def run(
    cloud: Layout, api: cluster.Server, root: str, watch: Callable[[Callable[[], bool]], object], *, keep: bool
) -> int:
    """Make it, show what comes with `watch` (in a thread of its own), and take it away again."""
    port = thermometer.free_port(cloud.offset)
    for place, body in thermometer.objects(cloud.node, port):
        if not api.change("PATCH", f"{place}/{NAME}", body):
            api.change("POST", place, body)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(_play(cloud, port, watch))
    finally:
        if not keep:
            for plural in ("devices", "devicemodels"):
                api.change("DELETE", f"{root}/default/{plural}/{NAME}", None)
    return 0


async def _play(cloud: Layout, port: int, watch: Callable[[Callable[[], bool]], object]) -> None:
    try:
        from octoedge.mappers.framework import run as mappers
        from octoedge.mappers.modbus.simulator import Thermometer, serve_tcp
    except ImportError as error:
        text = f"the demo needs a package that is not installed ({error}); `pip install 'octoedge[modbus]'`"
        raise ConfigError(text) from error
    from octoedge.edge.devicetwin.devicetwin import SOCKET

    settings = mappers.Settings(cloud.edge / SOCKET, http_port=0)
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        work = [
            group.create_task(serve_tcp(Thermometer(), "127.0.0.1", port), name="thermometer"),
            group.create_task(mappers.serve(mappers.load("modbus"), settings), name="mapper"),
        ]

        def stop() -> None:
            for task in work:
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        watching: asyncio.Future[Any] = loop.run_in_executor(None, watch, lambda: any(task.done() for task in work))
        everything: list[asyncio.Future[Any]] = [*work, watching]
        await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        stop()
        await watching
