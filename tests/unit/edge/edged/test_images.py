"""Images: names, policies, back-off and pull secrets."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from octoedge.api.core import Pod, view
from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.images import ImageFailed, Images, credentials, default_policy, normal_name
from octoedge.edge.edged.objects import Objects
from octoedge.errors import CriError
from octoedge.testing import node
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cri import MemoryRuntime, image
from octoedge.testing.metadata import MemoryMetadata

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("name", "full", "policy"),
    [
        ("busybox", "docker.io/library/busybox:latest", "Always"),
        ("busybox:1", "docker.io/library/busybox:1", "IfNotPresent"),
        ("team/app", "docker.io/team/app:latest", "Always"),
        ("docker.io/busybox:1", "docker.io/library/busybox:1", "IfNotPresent"),
        ("localhost/app", "localhost/app:latest", "Always"),
        ("127.0.0.1:5055/app:2", "127.0.0.1:5055/app:2", "IfNotPresent"),
        ("127.0.0.1:5055/app", "127.0.0.1:5055/app:latest", "Always"),
        (f"quay.io/a/b@{DIGEST}", f"quay.io/a/b@{DIGEST}", "IfNotPresent"),
    ],
)
def test_names_and_policies(name: str, full: str, policy: str) -> None:
    assert (normal_name(name), default_policy(name)) == (full, policy)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ImageFailed) as caught:
        normal_name("")
    assert caught.value.reason == "InvalidImageName"


class Desk:
    def __init__(self) -> None:
        clock = VirtualClock()
        self.metadata = MemoryMetadata(clock)
        self.runtime = MemoryRuntime(clock)
        self.images = Images(self.runtime, Objects(self.metadata), lambda: self.metadata.online)
        self.said: list[str] = []

    async def ensure(self, name: str = "edge.local/a:1", policy: str = "IfNotPresent", **spec: Any) -> f.Image:
        container = {**node.container(image=name), "imagePullPolicy": policy}
        pod = view(Pod, msgspec.json.encode(node.pod(containers=[container], **spec)))
        config = f.SandboxConfig()
        return await self.images.ensure(
            pod, pod.spec.containers[0], config, lambda _, reason, __: self.said.append(reason)
        )

    def offer(self, name: str = "edge.local/a:1") -> None:
        self.runtime.registry[name] = image(name)


def scenario(body: Callable[[Desk], Awaitable[None]]) -> None:
    async def main() -> None:
        await body(Desk())

    run(main())


def test_policies() -> None:
    async def body(desk: Desk) -> None:
        desk.offer()
        await desk.ensure()
        await desk.ensure()
        await desk.ensure(policy="Never")
        assert len(desk.runtime.pulls) == 1
        await desk.ensure(policy="Always")
        assert len(desk.runtime.pulls) == 2
        assert desk.said == ["Pulling", "Pulled", "Pulled", "Pulled", "Pulling", "Pulled"]

    scenario(body)


def test_offline_an_image_that_is_there_will_do() -> None:
    async def body(desk: Desk) -> None:
        desk.offer()
        desk.metadata.set_online(False)
        await desk.ensure(policy="Always")
        await desk.ensure(policy="Always")
        assert desk.said == ["Pulling", "Pulled", "PullSkipped"]

    scenario(body)


def test_never_without_the_image() -> None:
    async def body(desk: Desk) -> None:
        desk.offer()
        with pytest.raises(ImageFailed) as caught:
            await desk.ensure(policy="Never")
        assert caught.value.reason == "ErrImageNeverPull"
        assert desk.runtime.pulls == []

    scenario(body)


def test_back_off_doubles_and_a_success_ends_it() -> None:
    async def body(desk: Desk) -> None:
        loop = asyncio.get_running_loop()
        waits = []
        for _ in range(7):
            with pytest.raises(ImageFailed, match="not found") as caught:
                await desk.ensure()
            assert caught.value.reason == "ErrImagePull"
            with pytest.raises(ImageFailed, match="Back-off pulling image") as caught:
                await desk.ensure()
            assert caught.value.reason == "ImagePullBackOff"
            waits.append(desk.images.retry_at("edge.local/a:1") - loop.time())
            await asyncio.sleep(waits[-1])
        assert waits == [10, 20, 40, 80, 160, 300, 300]
        desk.offer()
        assert (await desk.ensure()).id
        assert desk.images.retry_at("edge.local/a:1") == 0

    scenario(body)


def test_pulls_are_one_at_a_time() -> None:
    async def body(desk: Desk) -> None:
        desk.offer("edge.local/a:1")
        desk.offer("edge.local/b:1")
        desk.runtime.latency = 1.0
        async with asyncio.TaskGroup() as group:
            group.create_task(desk.ensure("edge.local/a:1"))
            group.create_task(desk.ensure("edge.local/b:1"))
        # Looking (in parallel), then pull and look again, one after the other.
        assert asyncio.get_running_loop().time() == 5.0

    scenario(body)


def test_pull_secrets_are_tried_for_their_registry_and_then_none() -> None:
    async def body(desk: Desk) -> None:
        auth = base64.b64encode(b"robot:hunter2").decode()
        config = {"auths": {"edge.local": {"auth": auth}, "quay.io": {"username": "u", "password": "p"}}}
        data = {".dockerconfigjson": base64.b64encode(json.dumps(config).encode()).decode()}
        await desk.metadata.put("secret", {"metadata": {"name": "pull", "namespace": "default"}, "data": data})
        desk.offer()
        desk.runtime.fail_next("pull_image", CriError("PullImage", 2, "denied"))
        await desk.ensure(imagePullSecrets=[{"name": "gone"}, {"name": "pull"}])
        [(_, none)] = desk.runtime.pulls
        assert none is None
        await desk.ensure(policy="Always", imagePullSecrets=[{"name": "pull"}])
        used = desk.runtime.pulls[-1][1]
        assert used is not None
        assert (used.username, used.password) == ("robot", "hunter2")

    scenario(body)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"auths":1}', b'{"auths":{"edge.local":1}}', b"\xff"])
def test_a_broken_pull_secret_gives_no_credentials(content: bytes) -> None:
    assert credentials({".dockerconfigjson": content}, "edge.local") == []


def test_the_name_of_docker_hub_has_several_forms() -> None:
    table = {".dockerconfigjson": b'{"auths":{"https://index.docker.io/v1/":{"username":"u","password":"p"}}}'}
    assert [auth.username for auth in credentials(table, "docker.io/library/a:1")] == ["u"]
    assert credentials(table, "quay.io/library/a:1") == []


@pytest.mark.parametrize(
    ("server", "image", "fits"),
    [
        ("quay.io", "quay.io/a/b:1", True),
        ("https://quay.io/v2/", "quay.io/a/b:1", True),
        ("quay.io/a", "quay.io/a/b:1", True),
        ("quay.io/c", "quay.io/a/b:1", False),
        ("*.example", "r.example/a:1", True),
        ("*.example", "a.r.example/a:1", False),
        ("r.example:5000", "r.example:5000/a:1", True),
        ("r.example", "r.example:5000/a:1", False),
        ("", "r.example/a:1", False),
    ],
)
def test_a_pull_secret_covers_hosts_and_paths_as_the_kubelets(server: str, image: str, fits: bool) -> None:
    table = {".dockercfg": msgspec.json.encode({server: {"username": "u", "password": "p"}})}
    assert bool(credentials(table, image)) == fits


def test_the_closest_credential_is_tried_first_and_names_no_server() -> None:
    entries = {path: {"username": path, "password": "p"} for path in ("quay.io", "quay.io/a/b", "quay.io/a")}
    table = {".dockerconfigjson": msgspec.json.encode({"auths": entries})}
    found = credentials(table, "quay.io/a/b:1")
    assert [auth.username for auth in found] == ["quay.io/a/b", "quay.io/a", "quay.io"]
    assert {auth.server_address for auth in found} == {""}
