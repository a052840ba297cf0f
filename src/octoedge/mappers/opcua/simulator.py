"""A pump on a real OPC UA server: for trying out, and for tests.

ns=2;s=Pump.Run    Boolean, writable
ns=2;s=Pump.Speed  Double, revolutions a minute; the set speed while the pump runs
ns=2;s=Pump.Set    Double, writable
"""

from __future__ import annotations

import asyncio
from typing import Any

from asyncua import Server, ua
from asyncua.server.address_space import NodeData

_LOOK_SECONDS = 0.1


class Pump:
    """The device."""

    def __init__(self) -> None:
        self.deaf = False
        """Whether it takes what is written, and ignores it."""

    def take(self, node: NodeData, attribute: ua.AttributeIds, value: ua.DataValue) -> None:
        """A client writes."""
        if not self.deaf:
            node.attributes[attribute].value = value


async def serve(host: str, port: int, *, ready: asyncio.Event | None = None, pump: Pump | None = None) -> None:
    """Serve the pump until cancelled. Raises `OSError` when the port is taken."""
    pump = pump or Pump()
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://{host}:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    await server.register_namespace("http://octoedge.io/pump")
    run = await _variable(server, "Run", True)
    speed = await _variable(server, "Speed", 0.0)
    wished = await _variable(server, "Set", 1500.0)
    for node in (run, wished):
        await node.set_writable()
        server.set_attribute_value_setter(node.nodeid, pump.take)
    async with server:
        if ready is not None:
            ready.set()
        while True:
            await speed.write_value(float(await wished.read_value()) if await run.read_value() else 0.0)
            await asyncio.sleep(_LOOK_SECONDS)


async def _variable(server: Server, name: str, value: bool | float) -> Any:
    return await server.nodes.objects.add_variable(ua.NodeId(f"Pump.{name}", 2), f"2:{name}", value)
