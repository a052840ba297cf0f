"""Views of core/v1: what Kubernetes writes is read, and what edged writes has the fields that clients count on."""

from __future__ import annotations

import msgspec
import pytest

from octoedge.api import core
from octoedge.errors import MessageError


def test_all_wire_names_are_kubernetes_own() -> None:
    odd = {"hostIP", "podIPs", "imageID", "hostPID", "downwardAPI", "setHostnameAsFQDN", "exec", "fsGroup", "Port"}
    names = {
        field.encode_name
        for kind in vars(core).values()
        if isinstance(kind, type) and issubclass(kind, core.View)
        for field in msgspec.structs.fields(kind)
    }
    assert odd <= names
    assert not [name for name in names if "_" in name or name.endswith(("Ip", "Id", "Api"))]


def test_a_pod_is_read_with_fields_of_every_kind() -> None:
    pod = core.view(
        core.Pod,
        b"""{"metadata":{"name":"a","uid":"u"},"spec":{"nodeName":"n","unknown":{"x":[1]},
        "containers":[{"name":"c","resources":{"limits":{"cpu":1,"memory":"1Gi"}},
        "livenessProbe":{"httpGet":{"port":"web"}},"env":[{"name":"E","valueFrom":{"fieldRef":{"fieldPath":"f"}}}]}],
        "volumes":[{"name":"v","downwardAPI":{"items":[{"path":"p"}]}}]}}""",
    )
    [container] = pod.spec.containers
    assert container.resources.limits == {"cpu": 1, "memory": "1Gi"}
    assert container.liveness_probe is not None
    assert container.liveness_probe.http_get is not None
    assert container.liveness_probe.http_get.port == "web"
    assert pod.spec.volumes[0].downward_api is not None


def test_null_is_read_as_absent() -> None:
    pod = core.view(core.Pod, b'{"metadata":{"creationTimestamp":null},"spec":{"containers":null,"volumes":[null]}}')
    assert (pod.spec.containers, pod.spec.volumes) == ([], [])


@pytest.mark.parametrize(
    "obj", [b"", b"[]", b"{", b'{"spec":1}', b'{"spec":{"containers":[{}]}}', b"[" * 100_000, b"\xff"]
)
def test_what_is_no_pod_is_an_error_of_ours(obj: bytes) -> None:
    with pytest.raises(MessageError, match="not a Pod"):
        core.view(core.Pod, obj)


def test_a_secret_is_decoded_and_not_printed() -> None:
    secret = core.view(core.Secret, b'{"metadata":{"name":"s"},"data":{"k":"aHVudGVyMg=="}}')
    assert secret.data == {"k": b"hunter2"}
    assert "hunter2" not in repr(secret)


def test_a_container_status_has_its_required_fields_even_when_zero() -> None:
    written = msgspec.json.decode(msgspec.json.encode(core.ContainerStatus("c", False, 0, "", "")))
    assert written == {"name": "c", "ready": False, "restartCount": 0, "image": "", "imageID": ""}


def test_an_exit_code_of_zero_is_written() -> None:
    assert msgspec.json.encode(core.StateTerminated(0)) == b'{"exitCode":0}'
