"""The Service `default/kubernetes`, by which programs in Pods find the API, with the addresses that lead to it.

It has no selector: its endpoints are this server's own addresses. A loopback address is not among them, since it leads
to another machine from every other one; a server that has no other shows a Service without endpoints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from octoedge.apiserver.behaviours.services import CLUSTER_IPS
from octoedge.apiserver.controllers.following import follow
from octoedge.apiserver.controllers.turn import Hands, Turn
from octoedge.apiserver.store.backend import Edit, View
from octoedge.apiserver.writing.rest import Place
from octoedge.kube.read import Item
from octoedge.runtime.keyed import KeyedQueue

Json = dict[str, Any]

NAME = "kubernetes"
CLUSTER_IP = str(CLUSTER_IPS[1])
SLICES = "endpointslices.discovery.k8s.io"


class ApiService:
    """A module of the API server."""

    name = "kubernetes-service"
    needs: tuple[str, ...] = ("bootstrap",)
    restart = True

    def __init__(self, hands: Hands, addresses: Sequence[str], port: int) -> None:
        self._hands = hands
        self._backend = hands.rest.backend
        self._wanted = objects(reachable(addresses), port)

    async def run(self, ready: Callable[[], None]) -> None:
        """Make the Service and its endpoints, and again when somebody removes them."""
        queue = KeyedQueue(self._keep, workers=1, name="service kubernetes")

        def seen(item: Item, _removed: bool) -> None:
            if item.key == ("default", NAME):
                queue.add(NAME)

        await self._keep(NAME)
        ready()
        async with asyncio.TaskGroup() as group:
            group.create_task(queue.run(), name="service kubernetes")
            for resource in self._wanted:
                group.create_task(follow(self._backend, resource, seen), name=f"follow {resource}")

    async def _keep(self, _name: str) -> None:
        await self._backend.change(self._missing)

    def _missing(self, view: View) -> list[Edit]:
        turn = Turn(self._hands, view, self.name, self._hands.clock.now())
        edits: list[Edit] = []
        for resource, wanted in self._wanted.items():
            present = turn.get(resource, "default", NAME)
            if present is None:
                kind = self._hands.kinds.named(resource)
                made = {**wanted, "metadata": dict(wanted["metadata"])}
                edits += self._hands.rest.creation(view, Place(kind, "default"), made)
            elif any((present.get(key) or []) != wanted[key] for key in _OURS.get(resource, ())):
                turn.put(resource, {**present, **{key: wanted[key] for key in _OURS[resource]}})
        return [*edits, *turn.edits()]


_OURS = {"endpoints": ("subsets",), SLICES: ("endpoints", "ports")}
"""What follows the server's addresses; the Service itself is left as it is found."""


def reachable(addresses: Sequence[str]) -> list[str]:
    """The first address that leads here from other machines, if there is one."""
    for address in addresses:
        try:
            if not ip_address(address).is_loopback:
                return [address]
        except ValueError:
            continue
    return []


def objects(addresses: Sequence[str], port: int) -> dict[str, Json]:
    """By resource: the Service, and where there are addresses its Endpoints and its EndpointSlice."""
    labels = {"component": "apiserver", "provider": "kubernetes"}
    ports = [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]
    spec = {"clusterIP": CLUSTER_IP, "ports": ports, "type": "ClusterIP", "sessionAffinity": "None"}
    service = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": NAME, "labels": labels}, "spec": spec}
    if not addresses:
        return {"services": service}
    behind = [{"name": "https", "port": port, "protocol": "TCP"}]
    subsets = [{"addresses": [{"ip": one} for one in addresses], "ports": behind}]
    family = "IPv6" if any(":" in one for one in addresses) else "IPv4"
    return {
        "services": service,
        "endpoints": {
            "kind": "Endpoints",
            "apiVersion": "v1",
            "metadata": {"name": NAME, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": subsets,
        },
        SLICES: {
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {"name": NAME, "labels": {"kubernetes.io/service-name": NAME}},
            "addressType": family,
            "endpoints": [{"addresses": [one], "conditions": {"ready": True}} for one in addresses],
            "ports": behind,
        },
    }
