"""The view of a Pod's bytes that its placement needs."""

# ruff: noqa: RUF012 (msgspec copies defaults)

from __future__ import annotations

from typing import Any

from octoedge.api.core import ContainerPort, ResourceRequirements, Toleration, View
from octoedge.api.meta import ObjectMeta


class PlacedContainer(View, frozen=True):
    resources: ResourceRequirements = ResourceRequirements()
    ports: list[ContainerPort] = []
    restart_policy: str = ""


class PlacedSpec(View, frozen=True):
    containers: list[PlacedContainer] = []
    init_containers: list[PlacedContainer] = []
    node_name: str = ""
    node_selector: dict[str, str] = {}
    affinity: dict[str, Any] | None = None
    tolerations: list[Toleration] = []
    topology_spread_constraints: list[dict[str, Any]] = []
    priority: int = 0
    preemption_policy: str = ""
    scheduling_gates: list[Any] = []
    overhead: dict[str, str | int | float] = {}
    host_network: bool = False
    volumes: list[dict[str, Any]] = []


class PlacedStatus(View, frozen=True):
    phase: str = ""
    nominated_node_name: str = ""
    start_time: str | None = None


class PlacedPod(View, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: PlacedSpec = PlacedSpec()
    status: PlacedStatus = PlacedStatus()
