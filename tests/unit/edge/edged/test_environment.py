"""A container's environment: sources, order, expansion, and what is missing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.api.core import Pod, view
from octoedge.edge.edged.downward import Facts
from octoedge.edge.edged.environment import environment, expand
from octoedge.edge.edged.objects import Objects, ObjectUnavailable
from octoedge.testing import node
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.metadata import MemoryMetadata

FACTS = Facts(node.NODE, ("192.0.2.7",), ("10.0.0.2", "fd00::2"), 2000, 4 << 30)


def variables(**container: Any) -> dict[str, str]:
    async def main() -> dict[str, str]:
        metadata = MemoryMetadata(VirtualClock())
        meta = {"name": "cm", "namespace": "default"}
        await metadata.put("configmap", {"metadata": meta, "data": {"A": "a", "not=a=name": "x"}})
        await metadata.put("secret", {"metadata": {**meta, "name": "s"}, "data": {"B": "Yg=="}})
        pod = view(Pod, msgspec.json.encode(node.pod(containers=[node.container(**container)])))
        return await environment(pod, pod.spec.containers[0], FACTS, Objects(metadata))

    return run(main())


def ref(kind: str, name: str, key: str, **more: Any) -> dict[str, Any]:
    return {"name": "X", "valueFrom": {f"{kind}KeyRef": {"name": name, "key": key, **more}}}


def test_whole_config_maps_and_secrets_with_prefixes() -> None:
    sources = [{"configMapRef": {"name": "cm"}}, {"prefix": "P_", "secretRef": {"name": "s"}}]
    assert variables(envFrom=sources) == {"A": "a", "P_B": "b"}


def test_own_variables_win_and_see_what_stands_before_them() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "C", "value": "$(A)-$(B)-$$(A)"}, {"name": "B", "value": "2"}]
    assert variables(envFrom=[{"configMapRef": {"name": "cm"}}], env=env) == {"A": "1", "C": "1-$(B)-$(A)", "B": "2"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web"), ("metadata.uid", "uid-web"), ("spec.nodeName", node.NODE),
        ("status.podIP", "10.0.0.2"), ("status.podIPs", "10.0.0.2,fd00::2"), ("status.hostIP", "192.0.2.7"),
        ("metadata.annotations['none']", ""),
    ],
)  # fmt: skip
def test_fields_of_the_pod(path: str, value: str) -> None:
    assert variables(env=[{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}]) == {"X": value}


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", "0", "1"),
        ("limits.cpu", "1m", "250"),
        ("requests.cpu", "1m", "250"),
        ("limits.memory", "1Mi", "4096"),
    ],
)  # fmt: skip
def test_resources_of_the_container(resource: str, divisor: str, value: str) -> None:
    source = {"resourceFieldRef": {"resource": resource, "divisor": divisor}}
    assert variables(env=[{"name": "X", "valueFrom": source}], resources={"limits": {"cpu": "250m"}}) == {"X": value}


def test_keys_of_config_maps_and_secrets() -> None:
    assert variables(env=[ref("configMap", "cm", "A")]) == {"X": "a"}
    assert variables(env=[ref("secret", "s", "B")]) == {"X": "b"}
    assert variables(env=[ref("secret", "s", "none", optional=True)]) == {}
    assert variables(env=[ref("secret", "none", "B", optional=True)]) == {}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (ref("configMap", "cm", "Z"), "couldn't find key Z in ConfigMap default/cm"),
        (ref("secret", "none", "Z"), 'secrets "none" not found'),
    ],
)
def test_what_is_missing_is_named(source: dict[str, Any], text: str) -> None:
    with pytest.raises(ObjectUnavailable, match=text):
        variables(env=[source])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$(A)", "1"), ("$(A)$(A)", "11"), ("$$(A)", "$(A)"), ("$$$(A)", "$1"), ("$(B)", "$(B)"), ("$(A", "$(A"),
     ("$A", "$A"), ("$", "$"), ("$$", "$"), ("$()", "$()"), ("$($(A))", "$($(A))")],
)  # fmt: skip
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


@given(st.text("$AB ", max_size=20))
def test_expansion_without_variables_only_halves_dollars(text: str) -> None:
    assert expand(text, {}) == text.replace("$$", "$")
