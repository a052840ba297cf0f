"""A further node behind a bad link: after each fault, how long until it takes up its work again?

Counted from the moment in which the link is good again (or the address another one) until a pod that is created then is
Ready in the API, and so is the Node: a new order went down and its outcome came up.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import msgspec

from octoedge.commands.bench.report import Samples
from octoedge.commands.bench.wan import Wan, Weather, wan
from octoedge.commands.bench.world import PORT_OFFSET, World, is_ready, octoedge
from octoedge.keadm import register
from octoedge.kube.kinds import NODES

NODE = "far"
BAD_SECONDS = 30.0
LONG_SECONDS = 75.0
"""Long enough for the Node to count as gone."""


async def faults(world: World) -> Samples:
    """Six faults, one after the other."""
    environment = {**os.environ, "OCTOEDGE_HOME": str(world.layout.home), "OCTOEDGE_PORT_OFFSET": str(PORT_OFFSET)}
    await asyncio.to_thread(octoedge, environment, "node", "add", NODE)
    node = register.load(world.layout).node(NODE)
    samples: Samples = {}
    async with wan(node) as link:
        await _back(world, "as-usual")
        for name, fault in _FAULTS.items():
            await fault(link)
            link.weather = Weather()
            samples[f"fault_{name}"] = [await _back(world, name.replace("_", "-"))]
    return samples


async def _back(world: World, name: str) -> float:
    began = asyncio.get_running_loop().time()
    version = (await world.client.list(NODES)).version
    await world.apply_pod(name, nodeName=NODE)
    if not is_ready(msgspec.json.decode(await world.client.get(NODES, "", NODE))):
        await world.until(NODES, "", NODE, is_ready, version)
    took = asyncio.get_running_loop().time() - began
    await world.delete_pod(name)
    return took


def _bad(weather: Weather, seconds: float) -> Callable[[Wan], Awaitable[None]]:
    async def fault(link: Wan) -> None:
        link.weather = weather
        await asyncio.sleep(seconds)

    return fault


async def _move(link: Wan) -> None:
    await asyncio.to_thread(link.move)


_FAULTS: dict[str, Callable[[Wan], Awaitable[None]]] = {
    "silent": _bad(Weather(loss=1.0), BAD_SECONDS),
    "silent_long": _bad(Weather(loss=1.0), LONG_SECONDS),
    "loss": _bad(Weather(loss=0.3), BAD_SECONDS),
    "slow": _bad(Weather(delay=1.0), BAD_SECONDS),
    "jitter": _bad(Weather(delay=0.3, jitter=0.3), BAD_SECONDS),
    "moved": _move,
}
