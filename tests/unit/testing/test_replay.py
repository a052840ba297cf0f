"""A cloud and an edge of ours are captured while they run; the file plays against each, and says what differs."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest

from octoedge.kube.kinds import CONFIGMAPS, SECRETS
from octoedge.protocol.capture import CLOUD, DOWN, EDGE, Capture, read
from octoedge.testing.clock import run
from octoedge.testing.cluster import Cluster, cluster
from octoedge.testing.replay.command import main, replay
from octoedge.testing.replay.differences import DIFFERS, MISSING, NEW, SAME, Difference, Heap, compare
from octoedge.transport.capturing import Asked, Recording

SWORDFISH = "c3dvcmRmaXNoLTQy"
VOLUMES = [
    {"name": "cm", "configMap": {"name": "settings"}},
    {"name": "key", "secret": {"secretName": "key"}},
]


async def captured(world: Cluster, file: Path, during: float) -> None:
    """Write what the cloud says and hears for so many seconds."""
    assert world.cloud is not None
    intents = world.cloud._intents

    async def held(node: str) -> AsyncGenerator[tuple[str, str, bytes], None]:
        for name in [node] if node else world.nodes:
            for resource, body in intents.objects(name):
                yield name, resource, body

    async def now(_: str, resource: str) -> bytes | None:
        return None if resource is None else b"{}"

    tap = world.cloud.hub.tap
    recording = Recording(CLOUD, Asked(seconds=during), tap, world.clock, now)
    with tap.heard_by(recording), file.open("wb") as written:
        async with contextlib.aclosing(recording.lines(held)) as lines:
            async for line in lines:
                written.write(line)


async def changes(world: Cluster) -> None:
    """What a user does meanwhile."""
    await asyncio.sleep(5)
    await world.create(
        CONFIGMAPS, "default", {"kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}}
    )
    await world.create(SECRETS, "default", {"kind": "Secret", "metadata": {"name": "key"}, "data": {"a": SWORDFISH}})
    await world.create_pod("web", "edge-1", volumes=VOLUMES)
    await asyncio.sleep(20)
    await world.client.patch(CONFIGMAPS, "default", "settings", b'{"data":{"a":"2"}}')
    await asyncio.sleep(10)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    written = folder / "capture.jsonl"

    async def story() -> None:
        async with cluster(folder, "edge-1") as world:
            await world.create_pod("old", "edge-1")
            await world.until(lambda: world.nodes["edge-1"].running() == ["old"])
            await asyncio.sleep(20)
            async with asyncio.TaskGroup() as group:
                group.create_task(captured(world, written, 60))
                group.create_task(changes(world))

    run(story())
    return written


def load(file: Path) -> Capture:
    with file.open("rb") as lines:
        return read(lines, "f")


def other(found: list[Difference]) -> list[Difference]:
    return [difference for difference in found if difference.counts]


def test_the_file_holds_what_is_needed_and_no_secret(file: Path) -> None:
    capture = load(file)
    assert SWORDFISH not in file.read_text()
    assert capture.ended == "its time is over"
    assert {"null/node/edge-1", "default/pod/old"} <= {held.resource for held in capture.held}
    assert any(said.message.route.resource == "default/secret/key" for said in capture.said)


@pytest.mark.parametrize("against", [CLOUD, EDGE])
def test_it_plays_against_either_end_and_nothing_differs(file: Path, against: str) -> None:
    found = replay(load(file), "edge-1", against)
    assert other(found) == []
    same = [difference for difference in found if difference.verdict == SAME]
    assert len(same) > 4
    assert all(difference.now <= difference.captured for difference in same), "nothing had to be said again"


@pytest.mark.parametrize("against", [CLOUD, EDGE])
def test_a_cut_off_file_plays_as_far_as_it_goes(
    file: Path, against: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(file.read_bytes()[:-700])
    main([str(cut), "--against", against])
    assert "has no end: whoever wrote it was stopped; it goes as far as" in capsys.readouterr().out


def test_what_was_changed_in_the_file_is_found(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = tmp_path / "changed.jsonl"
    changed.write_bytes(file.read_bytes().replace(rb"phase\":\"Running", rb"phase\":\"Unknown"))
    assert main([str(changed), "--against", EDGE]) == 1
    said = capsys.readouterr().out
    assert "differs   patch default/podpatch/web" in said
    assert 'status.phase: captured "Unknown", now "Running"' in said


def test_an_edge_that_does_not_acknowledge_is_found(file: Path) -> None:
    capture = load(file)
    capture.said = [
        said
        if said.way == DOWN or said.message.route.operation != "response"
        else msgspec.structs.replace(said, message=msgspec.structs.replace(said.message, content=msgspec.Raw(b'"999"')))
        for said in capture.said
    ]
    found = other(replay(capture, "edge-1", EDGE))
    assert found == [], "what the captured edge did not confirm need not be confirmed"


def test_as_json_for_a_program(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(file), "--against", EDGE, "-o", "json"]) == 0
    (played,) = json.loads(capsys.readouterr().out)
    assert (played["node"], played["against"]) == ("edge-1", EDGE)
    assert {message["verdict"] for message in played["messages"]} == {SAME}


@pytest.mark.parametrize(
    ("text", "why"),
    [(None, "cannot be read"), (b"", "is empty"), (b"hello\n", "not a record"), (b'{"scene": 1}\n', "of a relay")],
)
def test_what_is_no_capture_is_told(
    text: bytes | None, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "f"
    if text is not None:
        given.write_bytes(text)
    assert main([str(given)]) == 2
    assert why in capsys.readouterr().err


def test_a_node_that_is_not_in_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(file), "--node", "edge-9"]) == 2
    assert "it has edge-1" in capsys.readouterr().err


def test_verdicts() -> None:
    captured, now = Heap(), Heap()
    captured.add("a", {"x": 1, "uid": "1", "list": [{"type": "R", "status": "True"}, {"type": "S"}]})
    now.add("a", {"x": 1, "uid": "2", "list": [{"type": "S"}, {"type": "R", "status": "False"}]})
    captured.add("b", None)
    now.add("c", '{"z": 1}')
    found = {difference.what: difference for difference in compare(captured, now)}
    assert {what: difference.verdict for what, difference in found.items()} == {"a": DIFFERS, "b": MISSING, "c": NEW}
    assert found["a"].places == ('list.R.status: captured "True", now "False"',)
    assert next(found["a"].lines()) == "differs   a  (1 captured, 1 now)"
