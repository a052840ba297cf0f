"""A node's cloud moves to another cluster, by what `octoedge export` takes along: its pods restart once, none stays."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

from octoedge.kube.kinds import CLUSTEROBJECTSYNCS, CONFIGMAPS, NODES, OBJECTSYNCS, PODS, SECRETS
from octoedge.kube.manifests import portable
from octoedge.testing.clock import run
from octoedge.testing.cluster import cluster
from octoedge.testing.kube import MemoryApi

KINDS = (NODES, CONFIGMAPS, SECRETS, PODS, OBJECTSYNCS, CLUSTEROBJECTSYNCS)


async def _moved(old: MemoryApi) -> MemoryApi:
    """Another API with what is taken along; its uids are others, its versions start low again."""
    new = MemoryApi()
    new._uid = itertools.count(100_000)
    for (collection, _), obj in list(old.objects.items()):
        kind = next((kind for kind in KINDS if collection.endswith(f"/{kind.plural}")), None)
        made: dict[str, Any] | None = portable({**obj, "kind": kind.kind}) if kind is not None else None
        if made is not None:
            await new.create(collection, made)
    return new


def test_pods_restart_once_and_nothing_of_the_old_cluster_stays(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path, "edge-1") as world:
            settings = {"metadata": {"name": "settings", "namespace": "default"}, "data": {"a": "b"}}
            await world.create(CONFIGMAPS, "default", settings)
            env = [{"configMapRef": {"name": "settings"}}]
            container = {"name": "main", "image": "edge.local/busybox:1", "envFrom": env}
            await world.create_pod("web", "edge-1", containers=[container])
            owned = await world.create_pod("owned", "edge-1")
            owned["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "r", "controller": True}]
            await world.api.put("/api/v1/namespaces/default/pods", owned, event="MODIFIED")
            node = world.nodes["edge-1"]
            await world.until(lambda: len(node.running()) == 2)

            old = world.api
            await world.kill_cloud()
            world.api = await _moved(old)
            world.client = world.api.client()
            await world.start_cloud()

            async def settled() -> bool:
                return node.running() == ["web"] and await world.phase("web") == "Running"

            await world.until(settled)
            restarted = node.runtime.running()
            await asyncio.sleep(300)
            assert node.runtime.running() == restarted, "once"

    run(main())
