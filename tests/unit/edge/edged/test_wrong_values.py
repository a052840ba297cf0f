"""Every field of a Pod with values that it cannot have: the API names its path, and edged lives whatever reaches it.

Past the API come pods of a Go cloud and static ones; each such pod is refused by name, waits with a reason, or runs
without the field as on Kubernetes, and can be deleted.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.apiserver.schema.decoding import Decoder, WrongType
from octoedge.apiserver.schema.schema import Definition, Field, Schema
from octoedge.edge.edged.manifests import Manifests
from octoedge.edge.edged.nodestatus import NodeSettings
from octoedge.protocol.resource import Resource
from octoedge.testing.clock import run
from octoedge.testing.node import NODE, World, container, deleting, is_running, pod

Json = dict[str, Any]
Place = tuple[Field, ...]
SCHEMA = Schema.load()
SPEC = SCHEMA["core.v1.PodSpec"]
VALUES: tuple[Any, ...] = (
    True, -1, 10**30, 1.5, "", "no such value", "\0", "x" * 300, [], [None], ["x"], [[]], {},
    {"x": "y"}, {"x": None}, None,
)  # fmt: skip
_TWINS = ("initContainers", "ephemeralContainers")
"""Their fields are those of containers, as far as this goes."""


def places(definition: Definition, above: Place = ()) -> Iterator[Place]:
    """Every field below a definition."""
    for field in definition.fields.values():
        place = (*above, field)
        yield place
        if field.is_definition and field.name not in _TWINS and field.type not in {one.type for one in above}:
            yield from places(SCHEMA[field.type], place)


ALL = tuple(places(SPEC))
SHELVES = [ALL[start : start + 40] for start in range(0, len(ALL), 40)]


def path(place: Place) -> str:
    return ".".join(field.name for field in place)


def wrong(place: Place, value: Any) -> Json:
    """A spec in which this one value is wrong."""
    for number in range(len(place) - 1, -1, -1):
        field = place[number]
        if number < len(place) - 1:
            value = {**_usual(field), **value}
            for kind in reversed(re.findall(r"\[\]|\{\}", field.shape)):
                value = [value] if kind == "[]" else {"x": value}
        value = {field.name: value}
    if place[0].name == "volumes":
        value["containers"] = [container(volumeMounts=[{"name": "v", "mountPath": "/v"}])]
    return dict(value)


def _usual(field: Field) -> Json:
    known: Json = {
        "core.v1.Container": container(), "core.v1.Volume": {"name": "v"},
        "core.v1.VolumeMount": {"name": "v", "mountPath": "/v"}, "core.v1.EnvVar": {"name": "E"},
        "core.v1.HTTPGetAction": {"port": 80}, "core.v1.KeyToPath": {"key": "k", "path": "p"},
    }  # fmt: skip
    return dict(known.get(field.type, {}))


@pytest.mark.parametrize("shelf", SHELVES, ids=lambda shelf: path(shelf[0]))
def test_the_api_names_the_path_of_a_value_of_another_type(shelf: tuple[Place, ...]) -> None:
    tried = 0
    for place in shelf:
        for value in VALUES:
            if _fits(place[-1], value):
                continue
            tried += 1
            with pytest.raises(WrongType) as refused:
                Decoder(SCHEMA).decode(SPEC, wrong(place, value))
            assert path(place) in str(refused.value)
    assert tried > len(shelf)


def _fits(field: Field, value: Any) -> bool:
    """Whether a value has the field's type; what a string says is judged by rules, not by types."""
    if field.shape and value is not None:
        if isinstance(value, list) and field.shape.startswith("[]"):
            return all(_fits_single(field, one) for one in value)
        return (
            isinstance(value, dict)
            and field.shape.startswith("{}")
            and all(_fits_single(field, one) for one in value.values())
        )
    return _fits_single(field, value)


def _fits_single(field: Field, value: Any) -> bool:
    if value is None:
        return True  # Absence, or the zero of its type.
    if field.is_definition or field.type == "object":
        return isinstance(value, dict)
    unbounded = field.type in ("number", "quantity")
    return field.type == "any" or (type(value) in _TYPES[field.type] and (unbounded or value != 10**30))


_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "bytes": (str,), "time": (str,), "microtime": (str,), "boolean": (bool,), "number": (int, float),
    "int32": (int,), "int64": (int,), "intstr": (int, str), "quantity": (int, float, str),
}  # fmt: skip


@pytest.mark.parametrize("shelf", SHELVES, ids=lambda shelf: path(shelf[0]))
def test_edged_lives_whatever_reaches_it(tmp_path: Path, shelf: tuple[Place, ...]) -> None:
    async def main() -> None:
        world = World(tmp_path)
        # A third of the values for each field, another third for the next: what is wrong is much the same.
        specs = {f"p{n}-{m}": wrong(p, v) for n, p in enumerate(shelf) for m, v in enumerate(VALUES[n % 3 :: 3])}
        roomy = NodeSettings(NODE, ip="192.0.2.7", max_pods=10_000)
        async with world.edged(node=roomy) as edged:
            objects = {}
            for name, spec in specs.items():
                obj = objects[name] = pod(name, **spec)
                if spec.get("nodeName", NODE) == NODE:
                    await world.metadata.put("pod", obj)
            await world.metadata.put("pod", pod("well"))
            await world.metadata.until_status("uid-well", is_running)
            await asyncio.sleep(120)
            assert edged.health == ""
            silent = [
                (name, specs[name])
                for name, obj in objects.items()
                if obj["spec"].get("nodeName", NODE) == NODE and f"uid-{name}" not in world.metadata.statuses
            ]
            assert silent == []
            for obj in objects.values():
                if Resource("default", "pod", obj["metadata"]["name"]) in world.metadata.objects:
                    await world.metadata.put("pod", deleting(obj, 1))
            await asyncio.sleep(120)
            ended = {uid for _, uid in world.metadata.deleted}
            assert {uid for uid in world.metadata.statuses if uid != "uid-well"} == ended
            assert [c.config.labels["io.kubernetes.pod.uid"] for c in world.runtime.running()] == ["uid-well"]

    run(main())


def test_a_static_pod_with_a_wrong_value_is_left_aside_or_runs(tmp_path: Path) -> None:
    async def main() -> None:
        world, folder = World(tmp_path), tmp_path / "manifests"
        folder.mkdir()
        chosen = [(place, value) for place in ALL for value in VALUES[len(place) % 3 :: 3]][::7]
        for number, (place, value) in enumerate(chosen):
            spec = {"containers": [container()], **wrong(place, value)}
            obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}"}, "spec": spec}
            (folder / f"p{number}.json").write_bytes(msgspec.json.encode(obj))
        Manifests(folder, NODE).scan("2026-01-01T00:00:00Z")
        roomy = NodeSettings(NODE, ip="192.0.2.7", max_pods=10_000)
        async with world.edged(manifests=folder, node=roomy) as edged:
            await world.metadata.put("pod", pod("well"))
            await world.metadata.until_status("uid-well", is_running)
            await asyncio.sleep(60)
            assert edged.health == ""

    run(main())


@pytest.mark.parametrize("name", ["../../../other", "a/b", "\0", "", "Upper", "x" * 64, "..", "-a"])
def test_a_containers_name_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    async def main() -> None:
        world = World(tmp_path)
        async with world.edged():
            await world.metadata.put("pod", pod(containers=[{**container(), "name": name}]))
            status = await world.metadata.until_status("uid-web", lambda s: s.get("reason") == "Unsupported")
            assert f"container name {name!r} is not a DNS label" in status["message"]
            await world.metadata.put("pod", pod("other"))
            await world.metadata.until_status("uid-other", is_running)
            debug = {**container(), "name": name}
            await world.metadata.put("pod", pod("other", ephemeralContainers=[debug]))
            await asyncio.sleep(30)
            assert set(world.runtime.starts) == {("uid-other", "main")}

    run(main())


def test_a_pod_that_runs_goes_on_when_what_comes_cannot_be_read_and_can_be_deleted(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        async with world.edged():
            await world.metadata.put("pod", pod())
            await world.metadata.until_status("uid-web", is_running)
            broken = pod(terminationGracePeriodSeconds="soon")
            await world.metadata.put("pod", broken)
            await asyncio.sleep(60)
            assert is_running(world.metadata.status("uid-web"))
            world.runtime.exit_container(world.runtime.running()[0].id, 1)
            await asyncio.sleep(60)
            assert len(world.runtime.running()) == 1
            await world.metadata.put("pod", deleting(broken, 1))
            await world.metadata.until_deleted("uid-web")
            assert not world.runtime.sandboxes

    run(main())


def test_a_new_pod_that_cannot_be_read_says_where(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        async with world.edged():
            await world.metadata.put("pod", pod(terminationGracePeriodSeconds="soon"))
            status = await world.metadata.until_status("uid-web", lambda s: s.get("reason") == "Unsupported")
            assert "$.spec.terminationGracePeriodSeconds" in status["message"]

    run(main())
