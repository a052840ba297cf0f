"""No field of a pod's spec is ignored without a word."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from octoedge.api.core import Pod, view
from octoedge.edge.edged.unsupported import ELSEWHERE, refusals, refused_debuggers
from octoedge.testing import node


def reasons(**spec: Any) -> list[str]:
    obj = msgspec.json.encode(node.pod(**spec))
    return refusals(obj, view(Pod, obj))


def test_what_the_api_fills_in_is_no_reason() -> None:
    filled = {
        "schedulerName": "default-scheduler", "priority": 0, "preemptionPolicy": "PreemptLowerPriority",
        "enableServiceLinks": True, "serviceAccount": "default", "serviceAccountName": "default", "hostUsers": True,
        "securityContext": {}, "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"x": 1}},
        "containers": [node.container(
            resources={}, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File",
            volumeMounts=[{"name": "v", "mountPath": "/v", "readOnly": True, "recursiveReadOnly": "Disabled"}],
            livenessProbe={"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1},
            startupProbe={"grpc": {"port": 1, "service": "a"}},
        )],
    }  # fmt: skip
    assert reasons(**filled) == []


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"volumes": [{"name": "v", "image": {"reference": "i"}}]}, "image volumes are not supported yet"),
        ({"volumes": [{"name": "v", "iscsi": {"iqn": "s"}}]}, "spec.volumes[].iscsi is not supported yet"),
        ({"runtimeClassName": "gvisor"}, "runtime classes are not supported yet"),
        ({"hostUsers": False}, "user namespaces are not supported yet"),
        ({"containers": [node.container(livenessProbe={"udp": {"port": 1}})]},
         "spec.containers[].livenessProbe.udp is not supported yet"),
        ({"containers": [node.container(volumeDevices=[{"name": "v"}])]}, "block devices are not supported yet"),
        ({"somethingNew": {"a": 1}}, "spec.somethingNew is not supported yet"),
        ({"initContainers": [node.container(restartPolicy="Sometimes")]}, "container restartPolicy 'Sometimes'"),
    ],
    ids=range(8),
)  # fmt: skip
def test_what_is_not_supported_is_named(spec: dict[str, Any], reason: str) -> None:
    assert any(said.startswith(reason) for said in reasons(**spec))


def test_an_ephemeral_container_is_refused_alone() -> None:
    obj = msgspec.json.encode(
        node.pod(
            ephemeralContainers=[
                {"name": "good", "image": "b", "targetContainerName": "main", "stdin": True},
                {"name": "bad", "image": "b", "somethingNew": 1},
            ]
        )
    )
    pod = view(Pod, obj)
    assert refusals(obj, pod) == []
    said = "this node cannot run the container: spec.ephemeralContainers[].somethingNew is not supported yet"
    assert refused_debuggers(obj, pod) == {"bad": said}


def test_each_reason_is_given_once() -> None:
    volumes = [{"name": name, "image": {"reference": "i"}} for name in "abc"]
    assert len(reasons(volumes=volumes)) == 1


def test_null_is_no_reason() -> None:
    assert reasons(volumes=None, ephemeralContainers=None, containers=[None, node.container(lifecycle=None)]) == []


def test_every_field_that_is_left_aside_has_a_reason() -> None:
    assert all(ELSEWHERE.values())
