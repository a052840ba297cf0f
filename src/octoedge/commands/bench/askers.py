"""What nodes cost the API: requests of CloudCore in a storm of reconnections, and for MetaServers that watch.

    simulated nodes ──TLS──► CloudCore ──► `apicalls`, which counts ──► API server

A count is the same however busy the machine is; fewer nodes than in `fleet` make it quick.
"""

from __future__ import annotations

import asyncio

import msgspec

from octoedge.commands.bench import apicalls
from octoedge.commands.bench.fleet import (
    SETTLE,
    CloudProcess,
    SimulatedNode,
    authority,
    connected,
    make_nodes,
    register,
    share_object,
    until_all,
)
from octoedge.commands.bench.plane import plane
from octoedge.commands.bench.report import Samples
from octoedge.kube.access import kubeconfig
from octoedge.kube.client import Client
from octoedge.kube.kinds import Kind
from octoedge.protocol.application import FOLLOW

SIZE, CHANGES = 200, 10
SERVICES = "/core/v1/services/default/null"


async def askers() -> Samples:
    """Connect all, give each work, kill CloudCore and count what the next one asks; then all of them watch."""
    async with plane() as api, Client(api.access) as client:
        await register(client, SIZE)
        cloud = CloudProcess(api)
        try:
            await asyncio.to_thread(cloud.start)
            nodes = await asyncio.to_thread(make_nodes, await authority(client), api.folder, SIZE)
            calls = apicalls.Calls(kubeconfig(api.folder / "cloudcore.kubeconfig"))
            access = api.folder.with_name("counted.kubeconfig")
            apicalls.write_kubeconfig(access)
            async with calls.running(), connected(nodes):
                await share_object(client, nodes)
                cloud.reach(access)
                return await _counted(client, cloud, calls, nodes)
        finally:
            cloud.stop()


async def _counted(client: Client, cloud: CloudProcess, calls: apicalls.Calls, nodes: list[SimulatedNode]) -> Samples:
    before = {node.name: node.sessions for node in nodes}
    cloud.kill()
    await asyncio.to_thread(cloud.start)
    await until_all(nodes, lambda node: node.sessions > before[node.name])
    await asyncio.sleep(SETTLE)
    storm, lists = calls.counts.total(), calls.counts["list"]
    async with asyncio.TaskGroup() as group:
        for node in nodes:
            group.create_task(_watch(node), name=f"{node.name} watches")
        for _ in range(CHANGES):
            await _create_service(client)
    watched = calls.counts.total() - storm
    cloud.kill()  # before the way that it asks is gone
    return {
        "asked_storm": [storm / SIZE],
        "asked_lists": [lists / SIZE],
        "asked_watch": [watched / SIZE],
    }


async def _watch(node: SimulatedNode) -> None:
    """List Services and follow them through the changes."""
    listed = await node.ask("list", SERVICES, {})
    version, seen = str(listed["metadata"]["resourceVersion"]), len(listed["items"]) - 1
    while seen < CHANGES:
        batch = await node.ask(FOLLOW, SERVICES, {"resourceVersion": version, "timeoutSeconds": 30})
        version, seen = str(batch["version"]), seen + len(batch["events"])


async def _create_service(client: Client) -> None:
    about = {"generateName": "told-"}
    service = {"kind": "Service", "apiVersion": "v1", "metadata": about, "spec": {"ports": [{"port": 80}]}}
    await client.create(Kind("services", "Service"), "default", msgspec.json.encode(service))
