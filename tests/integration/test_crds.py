"""CustomResourceDefinitions on a real API server: raw HTTP for the corners, real kubectl for what users do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

aiohttp = pytest.importorskip("aiohttp")

from octoedge.apiserver.apiserver import ApiServer, Settings  # noqa: E402
from octoedge.errors import OctoedgeError  # noqa: E402
from octoedge.keadm.toolchain import cached_kubectl  # noqa: E402

Json = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"

SPEC: Json = {
    "type": "object",
    "description": "What is wanted.",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 10, "description": "How large."},
        "replicas": {"type": "integer", "default": 1},
        "color": {"type": "string", "enum": ["red", "green"], "default": "red"},
        "word": {"type": "string", "pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"},
        "parts": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "count": {"type": "integer"}},
            },
        },
    },
}


def definition(plural: str = "widgets", kind: str = "Widget", **more: Any) -> Json:
    schema = {"type": "object", "properties": {"spec": SPEC, "status": FREE}, "description": "A widget."}
    old = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    columns = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]
    new = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    new |= {"subresources": {"status": {}, "scale": scale}, "additionalPrinterColumns": columns}
    new |= {"selectableFields": [{"jsonPath": ".spec.color"}]}
    before = {"name": "v1alpha1", "served": True, "storage": False, "deprecated": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, **more},
            "versions": [new, {**before, "schema": {"openAPIV3Schema": old}}],
        },
    }


FREE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def widget(name: str, **spec: Any) -> Json:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": 3, **spec}}


@dataclass
class World:
    """One API server."""

    folder: Path
    port: int
    session: Any
    tls: ssl.SSLContext

    async def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> tuple[int, Any]:
        headers = {"Content-Type": kind}
        url = f"https://127.0.0.1:{self.port}{path}"
        async with self.session.request(method, url, json=body, headers=headers, ssl=self.tls) as answer:
            return answer.status, await answer.json(content_type=None)

    async def until(self, path: str, code: int) -> None:
        """Wait until a GET is answered so; only the API itself could tell."""
        async with asyncio.timeout(15):
            while (await self.ask("GET", path))[0] != code:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def kubectl(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        """Exit status and everything that was said."""
        program = cached_kubectl(Path(sys.executable))
        where = ("--kubeconfig", str(self.folder / "admin.kubeconfig"), "--cache-dir", str(self.folder / "cache"))
        process = await asyncio.create_subprocess_exec(
            program, *where, *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={"HOME": str(self.folder), "PATH": os.environ["PATH"]},
        )  # fmt: skip
        said, _ = await process.communicate(stdin.encode())
        return process.returncode or 0, said.decode()


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[World]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    server = ApiServer(Settings(folder, port=port))
    async with asyncio.TaskGroup() as group:
        group.create_task(server.run())
        await server.ready()
        tls = ssl.create_default_context(cafile=str(folder / "pki/ca.crt"))
        tls.load_cert_chain(folder / "pki/admin.crt", folder / "pki/admin.key")
        async with aiohttp.ClientSession() as session:
            yield World(folder, port, session, tls)
        server.stop()


def play(folder: Path, story: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        async with serving(folder) as world:
            await story(world)

    asyncio.run(main())


def test_a_kind_is_served_from_the_moment_its_definition_is_stored(tmp_path: Path) -> None:
    async def story(at: World) -> None:
        assert (await at.ask("GET", WIDGETS))[0] == 404
        code, made = await at.ask("POST", CRDS, definition(shortNames=["wd"], categories=["all"]))
        assert code == 201
        assert {one["type"]: one["status"] for one in made["status"]["conditions"]} == {
            "NamesAccepted": "True", "Established": "True",
        }  # fmt: skip
        code, made = await at.ask("POST", WIDGETS, widget("a"))
        assert (code, made["spec"]) == (201, {"size": 3, "replicas": 1, "color": "red"})
        assert made["metadata"]["generation"] == 1
        _, found = await at.ask("GET", "/apis/example.com/v1")
        assert [one["name"] for one in found["resources"]] == ["widgets", "widgets/status", "widgets/scale"]
        _, group = await at.ask("GET", "/apis/example.com")
        assert group["preferredVersion"]["version"] == "v1"
        _, index = await at.ask("GET", "/openapi/v3")
        _, document = await at.ask("GET", index["paths"]["apis/example.com/v1"]["serverRelativeURL"])
        assert document["components"]["schemas"]["com.example.v1.Widget"]["properties"]["spec"] == SPEC

    play(tmp_path, story)


def test_generations_status_and_scale(tmp_path: Path) -> None:
    async def story(at: World) -> None:
        await at.ask("POST", CRDS, definition())
        await at.ask("POST", WIDGETS, {**widget("a"), "status": {"replicas": 9}})
        code, found = await at.ask("PATCH", f"{WIDGETS}/a/status", {"status": {"replicas": 2}}, MERGE)
        assert (code, found["status"], found["metadata"]["generation"]) == (200, {"replicas": 2}, 1)
        _, found = await at.ask("PATCH", f"{WIDGETS}/a", {"metadata": {"labels": {"a": "b"}}, "status": {}}, MERGE)
        assert (found["status"], found["metadata"]["generation"]) == ({"replicas": 2}, 1)
        _, scale = await at.ask("PATCH", f"{WIDGETS}/a/scale", {"spec": {"replicas": 4}}, MERGE)
        assert (scale["kind"], scale["spec"], scale["status"]) == ("Scale", {"replicas": 4}, {"replicas": 2})
        _, found = await at.ask("GET", f"{WIDGETS}/a")
        assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (4, 2)
        code, refused = await at.ask("PUT", f"{WIDGETS}/a", widget("a"))
        assert code == 422
        assert "must be specified for an update" in refused["message"]

    play(tmp_path, story)


def test_versions_share_one_store(tmp_path: Path) -> None:
    async def story(at: World) -> None:
        await at.ask("POST", CRDS, definition())
        await at.ask("POST", WIDGETS, widget("a", color="green"))
        old = WIDGETS.replace("v1", "v1alpha1")
        _, found = await at.ask("GET", f"{old}/a")
        assert (found["apiVersion"], found["spec"]) == ("example.com/v1alpha1", {"size": 3})
        made = {**widget("b"), "apiVersion": "example.com/v1alpha1"}
        code, found = await at.ask("POST", old, made)
        assert (code, found["apiVersion"]) == (201, "example.com/v1alpha1")
        _, found = await at.ask("GET", f"{WIDGETS}/b")
        assert (found["apiVersion"], found["spec"]["color"]) == ("example.com/v1", "red")
        _, page = await at.ask("GET", old)
        assert {one["apiVersion"] for one in page["items"]} == {"example.com/v1alpha1"}
        moved = definition()
        moved["spec"]["versions"][0]["storage"] = False
        moved["spec"]["versions"][1]["storage"] = True
        code, found = await at.ask("PATCH", f"{CRDS}/widgets.example.com", {"spec": moved["spec"]}, MERGE)
        assert (code, found["status"]["storedVersions"]) == (200, ["v1", "v1alpha1"])
        _, found = await at.ask("GET", f"{WIDGETS}/a")
        assert found["apiVersion"] == "example.com/v1"

    play(tmp_path, story)


def test_lists_with_keys_are_merged_by_server_side_apply(tmp_path: Path) -> None:
    async def story(at: World) -> None:
        await at.ask("POST", CRDS, definition())
        for manager, name in (("one", "x"), ("two", "y")):
            part = widget("a", parts=[{"name": name, "count": 1}])
            code, found = await at.ask("PATCH", f"{WIDGETS}/a?fieldManager={manager}", part, APPLY)
            assert code in (200, 201)
        assert [one["name"] for one in found["spec"]["parts"]] == ["x", "y"]
        part = widget("a", parts=[{"name": "x", "count": 5}])
        code, refused = await at.ask("PATCH", f"{WIDGETS}/a?fieldManager=three", part, APPLY)
        assert (code, refused["details"]["causes"][0]["field"]) == (409, '.spec.parts[name="x"].count')

    play(tmp_path, story)


def test_selectors_see_the_fields_that_a_definition_names_even_after_a_restart(tmp_path: Path) -> None:
    async def first(at: World) -> None:
        await at.ask("POST", CRDS, definition())
        await at.ask("POST", WIDGETS, widget("a", color="green"))
        await at.ask("POST", WIDGETS, widget("b"))
        await chosen(at)

    async def chosen(at: World) -> None:
        _, page = await at.ask("GET", f"{WIDGETS}?fieldSelector=spec.color%3Dgreen")
        assert [one["metadata"]["name"] for one in page["items"]] == ["a"]

    play(tmp_path, first)
    play(tmp_path, chosen)


def test_deleting_a_definition_deletes_its_objects(tmp_path: Path) -> None:
    async def story(at: World) -> None:
        await at.ask("POST", CRDS, definition())
        held = widget("held")
        held["metadata"]["finalizers"] = ["example.com/wait"]
        await at.ask("POST", WIDGETS, held)
        await at.ask("POST", WIDGETS, widget("free"))
        code, _ = await at.ask("DELETE", f"{CRDS}/widgets.example.com")
        assert code == 200
        await at.until(f"{WIDGETS}/free", 404)
        code, refused = await at.ask("POST", WIDGETS, widget("late"))
        assert (code, refused["reason"]) == (405, "MethodNotAllowed")
        await at.ask("PATCH", f"{WIDGETS}/held", {"metadata": {"finalizers": None}}, MERGE)
        await at.until(f"{CRDS}/widgets.example.com", 404)
        assert (await at.ask("GET", WIDGETS))[0] == 404
        await at.ask("POST", CRDS, definition())
        assert (await at.ask("GET", WIDGETS))[1]["items"] == []

    play(tmp_path, story)


def test_names_in_use_are_refused_until_they_are_free(tmp_path: Path) -> None:
    async def story(at: World) -> None:
        await at.ask("POST", CRDS, definition())
        _, second = await at.ask("POST", CRDS, definition("gadgets", "Widget"))
        assert second["status"]["conditions"][0]["reason"] == "ListKindConflict"
        gadgets = WIDGETS.replace("widgets", "gadgets")
        assert (await at.ask("GET", gadgets))[0] == 404
        await at.ask("DELETE", f"{CRDS}/widgets.example.com")
        await at.until(gadgets, 200)
        leases = definition("leases", "Lease")
        leases["metadata"] = {
            "name": "leases.coordination.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved"},
        }
        leases["spec"]["group"] = "coordination.k8s.io"
        _, taken = await at.ask("POST", CRDS, leases)
        assert taken["status"]["conditions"][0]["reason"] == "KindConflict"

    play(tmp_path, story)


def _nested(depth: int) -> Json:
    schema: Json = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


HOSTILE: dict[str, Json] = {
    "deep": _nested(70),
    "deep items": {"type": "array", "items": _nested(200)},
    "circular": {"type": "object", "$ref": "#/properties/spec"},
    "huge repeat": {"type": "string", "pattern": "((a{1000}){1000}){1000}"},
    "lookahead": {"type": "string", "pattern": "(?=a)"},
    "wide": {"type": "object", "properties": {f"p{n}": {} for n in range(5000)}},
    "default": {"type": "array", "items": {"type": "string"}, "default": [1] * 5000},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_schemas_are_refused_clearly_and_soon(tmp_path: Path, name: str) -> None:
    async def story(at: World) -> None:
        bad = definition()
        bad["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = HOSTILE[name]
        async with asyncio.timeout(20):
            code, refused = await at.ask("POST", CRDS, bad)
        assert code in (400, 422)
        assert refused["kind"] == "Status"
        assert len(refused["message"]) < 30_000
        assert (await at.ask("GET", "/apis/example.com"))[0] == 404

    play(tmp_path, story)


def test_a_regex_bomb_holds_up_nobody(tmp_path: Path) -> None:
    async def story(at: World) -> None:
        await at.ask("POST", CRDS, definition())
        async with asyncio.timeout(10):
            code, refused = await at.ask("POST", WIDGETS, widget("a", word="a" * 200_000))
        assert code == 422
        assert "should match" in refused["message"]

    play(tmp_path, story)


def test_an_installed_definition_that_somebody_changed_is_his(tmp_path: Path) -> None:
    name = f"{CRDS}/devices.devices.kubeedge.io"

    async def first(at: World) -> None:
        _, made = await at.ask("GET", name)
        made["spec"]["names"]["shortNames"] = ["dev"]
        assert (await at.ask("PUT", name, made))[0] == 200

    async def second(at: World) -> None:
        _, found = await at.ask("GET", name)
        assert found["spec"]["names"]["shortNames"] == ["dev"]
        _, other = await at.ask("GET", f"{CRDS}/devicemodels.devices.kubeedge.io")
        assert other["metadata"]["generation"] == 1

    play(tmp_path, first)
    play(tmp_path, second)


DEVICE = """
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: probe}
spec:
  protocol: modbus
  properties: [{name: temperature, type: FLOAT, accessMode: ReadOnly}]
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: boiler}
spec:
  deviceModelRef: {name: probe}
  nodeName: edge-1
  protocol: {protocolName: modbus, configData: {slaveID: 3, deep: {er: [1]}}}
  properties: [{name: temperature}]
"""
DEVICES = "/apis/devices.kubeedge.io/v1beta1/namespaces/default"
BOILER: Json = {
    "apiVersion": "devices.kubeedge.io/v1beta1",
    "kind": "Device",
    "metadata": {"name": "boiler"},
    "spec": {"deviceModelRef": {"name": "probe"}, "properties": []},
}
PROBE: Json = {
    "apiVersion": "devices.kubeedge.io/v1beta1",
    "kind": "DeviceModel",
    "metadata": {"name": "probe"},
    "spec": {
        "properties": [
            {"name": "setpoint", "type": "INT", "accessMode": "ReadWrite", "minimum": "5", "maximum": "90"},
            {"name": "temperature", "type": "FLOAT", "accessMode": "ReadOnly"},
            {"name": "on", "type": "BOOLEAN", "accessMode": "ReadWrite"},
            {"name": "label", "type": "STRING", "accessMode": "ReadWrite", "maximum": "no number"},
        ]
    },
}


def boiler(**wishes: str) -> Json:
    properties = [{"name": name, "desired": {"value": value}} for name, value in wishes.items()]
    return {**BOILER, "spec": {**BOILER["spec"], "properties": properties}}


def test_a_wish_that_the_model_does_not_allow_is_refused_with_the_field(tmp_path: Path) -> None:
    async def story(at: World) -> None:
        await at.ask("POST", f"{DEVICES}/devicemodels", PROBE)
        for wishes, why in (
            ({"setpoint": "91"}, '"91": 91 is outside of the model\'s range, 5 to 90'),
            ({"setpoint": "4"}, "outside of the model's range"),
            ({"setpoint": "warm"}, '"warm": no value of type INT'),
            ({"setpoint": "40.5"}, "no value of type INT"),
            ({"label": "x", "on": "maybe"}, 'spec.properties[1].desired.value: Invalid value: "maybe"'),
            ({"temperature": "40"}, "the model says that it can only be read"),
        ):
            code, said = await at.ask("POST", f"{DEVICES}/devices", boiler(**wishes))
            assert (code, said["reason"]) == (422, "Invalid"), said
            assert why in said["message"]
        allowed = boiler(setpoint="90", on="ON", label="91", unheard_of="any", temperature="")
        assert (await at.ask("POST", f"{DEVICES}/devices", allowed))[0] == 201
        code, said = await at.ask("PUT", f"{DEVICES}/devices/boiler", await changed(at, setpoint="91"))
        assert code == 422

    play(tmp_path, story)


def test_no_device_is_refused_for_what_comes_later_or_was_taken_before(tmp_path: Path) -> None:
    async def story(at: World) -> None:
        assert (await at.ask("POST", f"{DEVICES}/devices", boiler(setpoint="91")))[0] == 201, "its model is not there"
        await at.ask("POST", f"{DEVICES}/devicemodels", PROBE)
        labelled = await changed(at, setpoint="91", label="x")
        assert (await at.ask("PUT", f"{DEVICES}/devices/boiler", labelled))[0] == 200, "an old wish"
        assert (await at.ask("PUT", f"{DEVICES}/devices/boiler", await changed(at, setpoint="92")))[0] == 422
        assert (await at.ask("PUT", f"{DEVICES}/devices/boiler", await changed(at, setpoint="50")))[0] == 200
        assert (await at.ask("DELETE", f"{DEVICES}/devices/boiler"))[0] == 200

    play(tmp_path, story)


def test_who_writes_a_property_that_the_model_does_not_have_is_warned(tmp_path: Path) -> None:
    async def warned(at: World, method: str, path: str, body: Json | None = None) -> str:
        url = f"https://127.0.0.1:{at.port}{DEVICES}/{path}"
        async with at.session.request(method, url, json=body, ssl=at.tls) as answer:
            assert answer.status < 300, await answer.text()
            return str(answer.headers.get("Warning", ""))

    async def story(at: World) -> None:
        assert await warned(at, "POST", "devices", boiler(colour="red")) == "", "its model is not there"
        await at.ask("POST", f"{DEVICES}/devicemodels", PROBE)
        said = "299 - \"property 'colour' is none of DeviceModel 'probe'; nothing reads it\""
        assert await warned(at, "PUT", "devices/boiler", await changed(at, colour="blue")) == said
        assert await warned(at, "GET", "devices/boiler") == ""
        assert await warned(at, "PUT", "devices/boiler", await changed(at, setpoint="50")) == ""

    play(tmp_path, story)


async def changed(at: World, **wishes: str) -> Json:
    _, now = await at.ask("GET", f"{DEVICES}/devices/boiler")
    return {**now, "spec": boiler(**wishes)["spec"]}


def test_kubectl(tmp_path: Path) -> None:
    try:
        cached_kubectl(Path(sys.executable))
    except OctoedgeError as error:
        pytest.skip(str(error))

    async def story(at: World) -> None:
        async def good(*arguments: str, stdin: str = "") -> str:
            code, said = await at.kubectl(*arguments, stdin=stdin)
            assert code == 0, said
            return said

        await at.ask("POST", CRDS, definition(shortNames=["wd"]))
        text = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 3}\n"
        assert "created" in await good("apply", "-f", "-", stdin=text)
        assert "unchanged" in await good("apply", "-f", "-", stdin=text)
        assert "configured" in await good("apply", "-f", "-", stdin=text.replace("3}", "4}"))
        assert (await good("get", "wd")).split() == ["NAME", "SIZE", "w", "4"]
        assert "scaled" in await good("scale", "wd/w", "--replicas=5")
        assert "size\t<integer> -required-\n    How large." in await good("explain", "widgets.spec")
        code, said = await at.kubectl("apply", "-f", "-", stdin=text.replace("size: 3", "size: 30, bogus: 1"))
        assert code == 1
        assert 'unknown field "spec.bogus"' in said
        code, said = await at.kubectl("apply", "-f", "-", stdin=text.replace("size: 3", "size: 30, color: pink"))
        assert "* spec.size: Invalid value: 30: spec.size in body should be less than or equal to 10" in said
        assert '* spec.color: Unsupported value: "pink": supported values: "red", "green"' in said
        assert "is deprecated" in await good("get", "widgets.v1alpha1.example.com", "w")
        assert "deleted" in await good("delete", "crd", "widgets.example.com")
        assert (await good("apply", "-f", "-", stdin=DEVICE)).count("created") == 2
        assert (await good("get", "devices")).split()[-5:-1] == ["boiler", "edge-1", "probe", "modbus"]
        kept = await good("get", "device", "boiler", "-o", "jsonpath={.spec.protocol.configData}")
        assert kept == '{"deep":{"er":[1]},"slaveID":3}'
        code, said = await at.kubectl("apply", "-f", "-", stdin=DEVICE.replace("FLOAT", "float"))
        assert 'Unsupported value: "float"' in said

    play(tmp_path, story)
