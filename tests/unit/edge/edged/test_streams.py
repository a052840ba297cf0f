"""exec, attach and port-forward: the right container, what the runtime is asked for, and the kubelet's refusals."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.edged import Edged
from octoedge.edge.ports import StreamAction, StreamRequest
from octoedge.errors import ApiError, RuntimeUnavailable
from octoedge.testing.cri import Program
from octoedge.testing.node import World, container, is_running, pod, scenario

URL = "http://127.0.0.1:41234/exec/token"


def asked(action: StreamAction = StreamAction.EXEC, **changes: Any) -> StreamRequest:
    fields = {"namespace": "default", "pod": "web", "container": "main", "stdout": True, "stderr": True}
    return StreamRequest(action, **{**fields, **changes})


async def started(world: World, **spec: Any) -> None:
    world.runtime.streams_at = URL
    await world.metadata.put("pod", pod(**spec))
    await world.metadata.until_status("uid-web", is_running)


def test_the_running_container_is_asked_for(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await started(world)
        (running,) = world.runtime.running()
        (sandbox,) = world.runtime.sandboxes
        assert await edged.stream_url(asked(command=("ls", "-l"), stdin=True)) == URL
        assert await edged.stream_url(asked(command=("sh",), stdin=True, tty=True)) == URL
        assert await edged.stream_url(asked(StreamAction.ATTACH)) == URL
        assert await edged.stream_url(asked(StreamAction.PORT_FORWARD, container="", ports=(80,))) == URL
        assert world.runtime.streams_asked == [
            f.ExecRequest(running.id, ("ls", "-l"), tty=False, stdin=True, stdout=True, stderr=True),
            f.ExecRequest(running.id, ("sh",), tty=True, stdin=True, stdout=True, stderr=False),
            f.AttachRequest(running.id, stdout=True, stderr=True),
            f.PortForwardRequest(sandbox, (80,)),
        ]

    scenario(tmp_path, body)


def test_whether_there_is_a_terminal_to_attach_to_was_decided_when_the_container_was_made(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await started(world, containers=[container(tty=True)])
        await edged.stream_url(asked(StreamAction.ATTACH, tty=False))
        (request,) = world.runtime.streams_asked
        assert isinstance(request, f.AttachRequest)
        assert (request.tty, request.stderr) == (True, False)

    scenario(tmp_path, body)


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (asked(pod="none"), 404, "pod does not exist"),
        (asked(uid="another"), 404, "pod does not exist"),
        (asked(container="none"), 404, 'container "none" not found in pod "web"'),
    ],
)
def test_what_is_not_there_is_refused_as_the_kubelet_does(
    tmp_path: Path, request_: StreamRequest, code: int, text: str
) -> None:
    async def body(world: World, edged: Edged) -> None:
        await started(world)
        with pytest.raises(ApiError, match=text) as caught:
            await edged.stream_url(request_)
        assert caught.value.code == code
        assert world.runtime.streams_asked == []

    scenario(tmp_path, body)


def test_a_container_that_has_ended_cannot_be_entered(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        world.runtime.programs[("ends",)] = Program(seconds=1)
        world.runtime.streams_at = URL
        await world.metadata.put("pod", pod(containers=[container("main", "ends")], restartPolicy="Never"))
        await world.metadata.until_status("uid-web", lambda status: status.get("phase") == "Succeeded")
        with pytest.raises(ApiError, match=r'container not found \("main"\)'):
            await edged.stream_url(asked())

    scenario(tmp_path, body)


def test_what_the_runtime_says_is_passed_on(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await started(world)
        world.runtime.streams_at = ""
        with pytest.raises(ApiError, match="the in-memory runtime has no streams"):
            await edged.stream_url(asked())

    scenario(tmp_path, body)


async def page(edged: Edged, path: str) -> tuple[str, bytes]:
    answer = await edged.page(path)
    return answer.headers["Content-Type"], b"".join([chunk async for chunk in answer.body])


def test_pages_tell_of_the_node(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await started(world)
        assert await page(edged, "/healthz") == ("text/plain; charset=utf-8", b"ok")
        assert b'"name":"web"' in (await page(edged, "/pods"))[1]
        assert b"kubelet_running_pods 1\n" in (await page(edged, "/metrics/"))[1]
        assert b'container="main",namespace="default",pod="web"' in (await page(edged, "/metrics/resource"))[1]
        assert (await page(edged, "/metrics/probes"))[1] == b""
        with pytest.raises(ApiError, match="404 page not found"):
            await page(edged, "/configz")
        await asyncio.sleep(60)
        world.runtime.fail_next("container_stats", RuntimeUnavailable("containerd is away"))
        with pytest.raises(ApiError, match="containerd is away") as caught:
            await page(edged, "/stats/summary")
        assert caught.value.code == 503

    scenario(tmp_path, body)
