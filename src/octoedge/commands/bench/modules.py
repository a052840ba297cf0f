"""What single modules add to the agent: edgecore is started again with each of them alone on, none of the others.

DeviceTwin and EventBus are measured with devices (`devices`), MetaServer with watches (`metaserver`).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import yaml

from octoedge.commands.bench.process import Memory, memory
from octoedge.commands.bench.report import Samples
from octoedge.commands.bench.world import World

Json = dict[str, Any]
SETTLE = 8.0
ROUNDS = 3
OFF = ("edgeStream", "serviceBus", "deviceTwin", "eventBus", "edgeDNS", "metaServer")
MEASURED = {"stream": "edgeStream", "servicebus": "serviceBus"}


async def modules(world: World) -> Samples:
    """The least that an agent can be, and what is more with a module."""
    before = await asyncio.to_thread(world.layout.edgecore_file.read_text)
    try:
        samples: Samples = defaultdict(list)
        for _ in range(ROUNDS):
            least = await _held(world, "")
            samples["modules_least_rss"].append(least.rss)
            samples["modules_least_private"].append(least.private)
            for key, module in MEASURED.items():
                samples[f"modules_{key}"].append(max(0.0, (await _held(world, module)).private - least.private))
        return samples
    finally:
        await _restart(world, before)


async def _held(world: World, module: str) -> Memory:
    """With this module, or none of them."""
    tree: Json = yaml.safe_load(await asyncio.to_thread(world.layout.edgecore_file.read_text))
    for name in OFF:
        _section(tree, name)["enable"] = name == module
    await _restart(world, yaml.safe_dump(tree, sort_keys=False))
    await asyncio.sleep(SETTLE)
    return memory(world.pid("edgecore"))


def _section(tree: Json, name: str) -> Json:
    """Where a module is switched."""
    places: Json = {
        "edgeDNS": tree.setdefault("octoedge", {}), "metaServer": tree["modules"].setdefault("metaManager", {}),
    }  # fmt: skip
    place: Json = places[name] if name in places else tree["modules"]
    found: Json = place.setdefault(name, {})
    return found


async def _restart(world: World, text: str) -> None:
    await asyncio.to_thread(world.layout.edgecore_file.write_text, text)
    await asyncio.to_thread(world.stop, "edgecore")
    await asyncio.to_thread(world.daemon("edgecore").start)
