"""Switches of KubeEdge's files that change nothing here. The file is taken as it is; who runs it is told at start."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # each program reads only its own
    from octoedge.api.config.cloudcore import CloudModules
    from octoedge.api.config.edgecore import EdgeModules


def in_cloudcore(modules: CloudModules) -> list[str]:
    """What in CloudCore's file has no effect, as sentences: what it says and what is so instead."""
    said = {
        "modules.edgeController.enable is false, but it runs: without it no node could be told anything": (
            not modules.edge_controller.enable
        ),
        "modules.syncController.enable is false, but it runs: without it nodes could stay behind for ever": (
            not modules.sync_controller.enable
        ),
        "modules.cloudHub.quic.enable is true, but QUIC is not implemented: nodes come by WebSocket": (
            modules.cloud_hub.quic.enable
        ),
        "modules.router.enable is true, but rules are not implemented: messages of MQTT clients end in CloudCore": (
            modules.router.enable
        ),
        "modules.taskManager.enable is true, but node tasks are not implemented: upgrade nodes by hand": (
            modules.task_manager.enable
        ),
    }
    return [sentence for sentence, so in said.items() if so]


def in_edgecore(modules: EdgeModules) -> list[str]:
    """What in EdgeCore's file has no effect, as sentences."""
    said = {
        "modules.serviceBus.enable is true, but ServiceBus is not implemented: nothing listens on its port": (
            modules.service_bus.enable
        ),
        "modules.taskManager.enable is true, but node tasks are not implemented: upgrade this node by hand": (
            modules.task_manager.enable
        ),
    }
    return [sentence for sentence, so in said.items() if so]
