"""A configuration comes out of the pipe as it went in, whatever the file said."""

from __future__ import annotations

from octoedge.api.config.handover import pack, unpack
from octoedge.api.config.load import default_edgecore, parse_edgecore
from octoedge.api.config.section import Duration

FILE = b"""
apiVersion: edgecore.config.kubeedge.io/v1alpha2
kind: EdgeCore
modules:
  edged:
    hostnameOverride: edge-7
    nodeLabels: {room: "12"}
    tailoredKubeletConfig:
      nodeStatusUpdateFrequency: 1m30s
      registerWithTaints: [{key: only, value: devices, effect: NoSchedule}]
  edgeHub: {heartbeat: 7, token: secret}
"""


def test_the_defaults_survive() -> None:
    assert unpack(pack(default_edgecore())) == default_edgecore()


def test_what_a_file_says_survives() -> None:
    config = parse_edgecore(FILE, "edgecore.yaml")
    received = unpack(pack(config))
    assert received == config
    assert received.modules.edged.tailored_kubelet_config.node_status_update_frequency == Duration(90)
