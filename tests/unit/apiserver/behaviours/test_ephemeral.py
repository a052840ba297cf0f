"""Ephemeral containers are only added, and only what may be is written."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from octoedge.apiserver.behaviours import ephemeral

Json = dict[str, Any]


def pod(*debuggers: Json, **about: Any) -> Json:
    spec: Json = {"containers": [{"name": "main", "image": "a"}], "volumes": [{"name": "data", "emptyDir": {}}]}
    if debuggers:
        spec["ephemeralContainers"] = [copy.deepcopy(one) for one in debuggers]
    return {"metadata": {"name": "web", **about}, "spec": spec, "status": {"phase": "Running"}}


def debugger(name: str = "debug", **fields: Any) -> Json:
    return {"name": name, "image": "busybox", **fields}


def texts(new: Json, old: Json) -> list[str]:
    return [f"{field}: {text}" for _, field, text in ephemeral.check(new, old)]


def test_nothing_but_ephemeral_containers_is_taken() -> None:
    new = pod(debugger())
    new["spec"]["containers"][0]["image"] = "other"
    new["metadata"]["labels"] = {"a": "b"}
    assert ephemeral.take(new, pod()) == pod(debugger())
    assert ephemeral.take(pod(), pod(debugger())) == pod()


def test_a_debugger_with_a_target_is_well() -> None:
    stdin = debugger(targetContainerName="main", stdin=True, tty=True, resources={})
    mounted = debugger("two", volumeMounts=[{"name": "data", "mountPath": "/d"}])
    assert texts(pod(stdin, mounted), pod(stdin)) == []


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (debugger("main"), 'spec.ephemeralContainers[0].name: Duplicate value: "main"'),
        (debugger(""), "spec.ephemeralContainers[0].name: Required value"),
        (debugger("A_b"), 'spec.ephemeralContainers[0].name: Invalid value: "A_b"'),
        (debugger(image=""), "spec.ephemeralContainers[0].image: Required value"),
        (debugger(targetContainerName="gone"),
         'spec.ephemeralContainers[0].targetContainerName: Not found: "gone"'),
        (debugger(ports=[{"containerPort": 1}]),
         "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container"),
        (debugger(livenessProbe={"exec": {}}), "spec.ephemeralContainers[0].livenessProbe: Forbidden"),
        (debugger(volumeMounts=[{"name": "none", "mountPath": "/d"}]),
         'spec.ephemeralContainers[0].volumeMounts[0].name: Not found: "none"'),
        (debugger(volumeMounts=[{"name": "data", "mountPath": "/d", "subPath": "x"}]),
         "spec.ephemeralContainers[0].volumeMounts[0].subPath: Forbidden"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(bad: Json, said: str) -> None:
    assert any(text.startswith(said) for text in texts(pod(bad), pod())), texts(pod(bad), pod())


def test_what_is_there_stays() -> None:
    before = pod(debugger())
    gone = 'spec.ephemeralContainers: Forbidden: existing ephemeral containers "debug" may not be removed\n'
    changed = 'spec.ephemeralContainers: Forbidden: existing ephemeral containers "debug" may not be changed\n'
    assert texts(pod(), before) == [gone]
    assert texts(pod(debugger(tty=True)), before) == [changed]


def test_neither_new_pods_nor_mirrors_have_them() -> None:
    assert ephemeral.check_new(pod()) == []
    assert ephemeral.check_new(pod(debugger())) != []
    mirror = pod(debugger(), annotations={"kubernetes.io/config.mirror": "x"})
    assert texts(mirror, mirror) == [": Forbidden: static pods do not support ephemeral containers"]
