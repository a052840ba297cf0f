"""The installation that is measured: its own home, ports, bridge and cgroup root; gone again at the end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from octoedge.errors import ApiError, DeadlineError
from octoedge.keadm import layout
from octoedge.keadm.daemons import daemons
from octoedge.keadm.layout import Layout
from octoedge.keadm.processes import Daemon
from octoedge.kube.access import kubeconfig
from octoedge.kube.client import Client
from octoedge.kube.kinds import PODS, Kind

Json = dict[str, Any]
PORT_OFFSET = int(os.environ.get("OCTOEDGE_PORT_OFFSET") or 13_000)
"""Below the ports that the kernel gives to outgoing connections; another one where two measure on one machine."""
DEADLINE = 60.0
GRACE = 15.0


class World:
    """One cloud and one edge node, and ways to drive and to watch them."""

    def __init__(self, where: Layout, client: Client) -> None:
        self.layout = where
        self.client = client
        self._daemons = daemons(where)

    def daemon(self, name: str) -> Daemon:
        """One of the installation's processes."""
        return self._daemons[name]

    def pid(self, name: str) -> int:
        """The pid of a process that must be running."""
        pid = self.daemon(name).pid()
        if pid is None:
            raise DeadlineError(f"{name} is not running; its log ends with:\n{self.daemon(name).last_words()}")
        return pid

    def stop(self, name: str) -> None:
        """End one process."""
        self.daemon(name).stop(GRACE)

    async def started_until(
        self, name: str, kind: Kind, namespace: str, wanted: str, holds: Callable[[Json], bool]
    ) -> float:
        """Start one process; seconds until the API shows that `holds`."""
        version = (await self.client.list(kind, namespace)).version
        began = time.monotonic()
        self.daemon(name).start()
        await self.until(kind, namespace, wanted, holds, version)
        return time.monotonic() - began

    async def until(self, kind: Kind, namespace: str, name: str, holds: Callable[[Json], bool], version: str) -> Json:
        """Wait by watch, from `version` on, until an object is so that `holds` (a deletion gives `{}`)."""
        try:
            async with asyncio.timeout(DEADLINE):
                async for event in self.client.watch(kind, namespace, version=version, fields=f"metadata.name={name}"):
                    seen = {} if event.type == "DELETED" else msgspec.json.decode(event.object)
                    if event.type != "BOOKMARK" and holds(seen):
                        return dict(seen)
        except TimeoutError:
            pass
        raise DeadlineError(f"{kind.kind} {name} did not become as wanted in {DEADLINE:.0f} s")

    async def apply_pod(self, name: str, **changes: Any) -> float:
        """Create a pod; seconds until the API says that it is Ready."""
        version = (await self.client.list(PODS, "default")).version
        began = time.monotonic()
        await self.client.create(PODS, "default", msgspec.json.encode(pod(name, **changes)))
        await self.until(PODS, "default", name, is_ready, version)
        return time.monotonic() - began

    async def delete_pod(self, name: str) -> None:
        """Delete a pod and wait until it is gone."""
        version = (await self.client.list(PODS, "default")).version
        try:
            await self.client.delete(PODS, "default", name, b'{"gracePeriodSeconds":1}')
        except ApiError as error:
            if error.code != 404:
                raise
            return
        await self.until(PODS, "default", name, lambda seen: not seen, version)


def is_ready(obj: Json) -> bool:
    """Whether the Ready condition of a Node or Pod is True."""
    conditions = obj.get("status", {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def pod(name: str, **changes: Any) -> Json:
    """A small pod on the host's network; `changes` go into its spec."""
    container = {
        "name": "main",
        "image": "octoedge.local/hello:1",
        "command": ["/bin/busybox", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"],
    }
    spec = {"hostNetwork": True, "terminationGracePeriodSeconds": 1, "containers": [container], **changes}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """Bring an installation up for measuring, and take it away again whatever happens."""
    with tempfile.TemporaryDirectory(prefix="octobench-") as folder:
        environment = {**os.environ, "OCTOEDGE_HOME": folder, "OCTOEDGE_PORT_OFFSET": str(PORT_OFFSET)}
        try:
            await asyncio.to_thread(octoedge, environment, "up", "--no-sample")
            where = layout.load(environment)
            if where is None:
                raise DeadlineError(f"nothing was set up in {folder}")
            async with Client(kubeconfig(where.kubeconfig)) as client:
                yield World(where, client)
        finally:
            await asyncio.to_thread(octoedge, environment, "down", "--purge")


def octoedge(environment: dict[str, str], *arguments: str) -> None:
    """Run the program itself."""
    program = str(Path(sys.executable).parent / "octoedge")
    done = subprocess.run(
        [program, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        raise DeadlineError(f"octoedge {' '.join(arguments)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def ended(process: subprocess.Popen[bytes]) -> None:
    """Tell a process to end, and see that it does."""
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(GRACE)
