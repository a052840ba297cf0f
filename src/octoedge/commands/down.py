"""`octoedge down`: stop what `octoedge up` started, pods too; the data stays unless it is to be purged."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Awaitable, Mapping
from types import MappingProxyType

from octoedge.commands.asroot import ensure_root
from octoedge.edge.edged import names
from octoedge.edge.edged.cri.client import CriClient
from octoedge.edge.edged.cri.fields import Container, Sandbox
from octoedge.edge.edged.cri.interface import ContainerRuntime
from octoedge.errors import InstallError, OctoedgeError
from octoedge.keadm import layout, register
from octoedge.keadm.installation import remove_data, take_down
from octoedge.keadm.layout import Layout
from octoedge.keadm.status import deserted
from octoedge.keadm.steps import retreat
from octoedge.keadm.turns import turn

GRACE = 10
"""Seconds that a container gets to end by itself, unless its pod asks for less."""
TRIES, PAUSE = 6, 1.0
"""Rounds, and seconds between them, in which everything has to end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--purge", action="store_true", help="remove the data too: cluster, node, images, logs")


def run(arguments: argparse.Namespace) -> int:
    ensure_root()
    if layout.load(os.environ) is None:
        home = layout.locate(os.environ)
        orphans = deserted(home)
        print(orphans or f"nothing is set up in {home}")
        return 1 if orphans else 0
    with turn(_say):
        return _down(arguments)


def _down(arguments: argparse.Namespace) -> int:
    known = layout.load(os.environ)
    if known is None:  # another `down` had its turn first
        return 0
    retreat(take_down(register.load(known), stop_pods, arguments.purge), _say)
    if arguments.purge:
        remove_data(known)
        print(f"removed the data in {known.home}")
    else:
        print("Down. The data stays; `octoedge up` brings everything back, `octoedge down --purge` removes it.")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def stop_pods(known: Layout, remove: bool) -> None:
    """End every pod of our runtime, each container with the chance to end by itself."""
    asyncio.run(_stop_pods(CriClient(str(known.runtime_socket)), remove))


def end_pods(endpoint: str, node: str) -> None:
    """End and remove every pod of that node; others on the same runtime are left alone."""
    asyncio.run(_stop_pods(CriClient(endpoint), True, {names.NODE: node}))


async def _stop_pods(runtime: CriClient, remove: bool, labels: Mapping[str, str] = MappingProxyType({})) -> None:
    try:
        await end_all(runtime, remove, labels)
    finally:
        await runtime.close()


async def end_all(
    runtime: ContainerRuntime, remove: bool, labels: Mapping[str, str] = MappingProxyType({}), pause: float = PAUSE
) -> None:
    """End what has these labels; what the runtime refuses is asked for again. Raises `InstallError` when all is tried.

    A network namespace or a mount may be busy for a moment, while somebody looks at it.
    """
    for number in range(TRIES):
        refused = await _try(runtime, remove, labels)
        if not refused:
            return
        if number < TRIES - 1:
            await asyncio.sleep(pause)
    raise InstallError(
        f"{len(refused)} pods or containers could not be ended in {TRIES} tries; the first one: {refused[0]}. The same"
        " command tries again."
    )


async def _try(runtime: ContainerRuntime, remove: bool, labels: Mapping[str, str]) -> list[str]:
    """One round; returns what the runtime said about those that it refused to end."""
    refused: list[str] = []
    containers = await runtime.list_containers(dict(labels))
    async with asyncio.TaskGroup() as group:
        for container in containers:
            stopping = runtime.stop_container(container.id, _grace(container))
            group.create_task(_noting(refused, stopping), name=f"stop {container.id}")
    sandboxes = await runtime.list_sandboxes(dict(labels))
    async with asyncio.TaskGroup() as group:
        for sandbox in sandboxes:
            group.create_task(_noting(refused, _stop_sandbox(runtime, sandbox, remove)), name=f"stop {sandbox.id}")
    return refused


async def _noting(refused: list[str], ending: Awaitable[None]) -> None:
    try:
        await ending
    except OctoedgeError as problem:
        refused.append(str(problem))


def _grace(container: Container) -> int:
    wanted = container.annotations.get(names.GRACE, "")
    return min(int(wanted), GRACE) if wanted.isdecimal() else GRACE


async def _stop_sandbox(runtime: ContainerRuntime, sandbox: Sandbox, remove: bool) -> None:
    await runtime.stop_sandbox(sandbox.id)
    if remove:
        await runtime.remove_sandbox(sandbox.id)
