"""Pods that are not to start before somebody on the node says so: KubeEdge's held upgrades. Pure.

annotation edge.kubeedge.io/hold-upgrade: "true", the pod still Pending ──► condition HeldUpgrade, nothing is started
`keadm ctl unhold-upgrade`, or the annotation removed ──► the pod starts
"""

from __future__ import annotations

import msgspec

from octoedge.api.core import Pod
from octoedge.runtime.clock import rfc3339

ANNOTATION = "edge.kubeedge.io/hold-upgrade"
HELD = "HeldUpgrade"


def wants_hold(pod: Pod) -> bool:
    """Whether a pod that has not begun is to wait."""
    return (pod.metadata.annotations or {}).get(ANNOTATION) == "true" and pod.status.phase in ("", "Pending")


def patch(pod: Pod, now: float) -> bytes:
    """The status patch that says so, in KubeEdge's words."""
    condition = {
        "type": HELD,
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": rfc3339(now),
        "reason": "HoldUpgradeEnabled",
        "message": "Upgrade is currently held due to edge-hold-upgrade annotation",
    }
    return msgspec.json.encode({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}})
