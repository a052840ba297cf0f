"""All controllers of workloads, as modules of the API server."""

from __future__ import annotations

from collections.abc import Sequence

from octoedge.apiserver.controllers.aggregation import aggregation_controller
from octoedge.apiserver.controllers.budgets import budget_controller
from octoedge.apiserver.controllers.builtins import BuiltIns
from octoedge.apiserver.controllers.cronjobs import cronjob_controller
from octoedge.apiserver.controllers.daemonsets import daemonset_controller
from octoedge.apiserver.controllers.deployments import deployment_controller
from octoedge.apiserver.controllers.endpoints import endpoints_controller
from octoedge.apiserver.controllers.evictions import Evictions
from octoedge.apiserver.controllers.garbage import GarbageCollector
from octoedge.apiserver.controllers.jobs import job_controller
from octoedge.apiserver.controllers.quotas import quota_controller
from octoedge.apiserver.controllers.replicasets import replicaset_controller
from octoedge.apiserver.controllers.statefulsets import statefulset_controller
from octoedge.apiserver.controllers.turn import Hands
from octoedge.apiserver.controllers.volumes import volume_controllers
from octoedge.runtime.supervisor import Module


def workload_controllers(hands: Hands) -> Sequence[Module]:
    """One of each."""
    return (
        deployment_controller(hands),
        replicaset_controller(hands),
        daemonset_controller(hands),
        statefulset_controller(hands),
        job_controller(hands),
        cronjob_controller(hands),
        endpoints_controller(hands),
        budget_controller(hands),
        *volume_controllers(hands),
        aggregation_controller(hands),
        quota_controller(hands),
        BuiltIns(hands),
        GarbageCollector(hands),
        Evictions(hands),
    )
