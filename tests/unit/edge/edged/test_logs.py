"""Logs: the text in every form, tails, and what is asked wrongly."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.edge.edged.cri.fields import ContainerState
from octoedge.edge.edged.layout import Layout
from octoedge.edge.edged.logs import CHUNK, Logs, LogText, tail_offset
from octoedge.edge.edged.observe import Observer
from octoedge.edge.edged.observed import ContainerSeen, PodSeen
from octoedge.edge.edged.pods import Pods
from octoedge.edge.ports import LogRequest
from octoedge.errors import ApiError
from octoedge.runtime.clock import parse_rfc3339
from octoedge.testing import node
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cri import MemoryRuntime

STAMP = b"2026-11-21T01:50:52.352139055Z"


def line(text: bytes, tag: bytes = b"F", stamp: bytes = STAMP, stream: bytes = b"stdout") -> bytes:
    return b" ".join((stamp, stream, tag, text)) + b"\n"


def whole(data: bytes, size: int = 1 << 30, **options: Any) -> bytes:
    text = LogText(**options)
    return b"".join(text.feed(data[at : at + size]) for at in range(0, len(data), size))


def test_lines_lose_time_and_stream() -> None:
    assert whole(line(b"one") + line(b"two F 2", stream=b"stderr") + line(b"")) == b"one\ntwo F 2\n\n"


def test_parts_are_joined() -> None:
    assert whole(line(b"one ", b"P") + line(b"and ", b"P") + line(b"two") + line(b"three")) == b"one and two\nthree\n"


def test_timestamps_stand_once_before_each_whole_line() -> None:
    data = line(b"one ", b"P") + line(b"two") + line(b"three")
    assert whole(data, timestamps=True) == STAMP + b" one two\n" + STAMP + b" three\n"


def test_lines_before_since_are_left_out() -> None:
    early, late = b"2026-11-21T01:50:52Z", b"2026-11-21T01:50:53.5Z"
    data = line(b"a", stamp=early) + line(b"b", stamp=late) + line(b"c", stamp=late)
    assert whole(data, since=parse_rfc3339("2026-11-21T01:50:53Z")) == b"b\nc\n"


def test_what_is_no_log_line_is_shown_as_it_is() -> None:
    assert whole(b"garbage\n" + line(b"x")) == b"garbage\nx\n"


def test_an_endless_line_does_not_fill_the_memory() -> None:
    text = LogText()
    assert sum(len(text.feed(b"x" * CHUNK)) for _ in range(64)) >= 50 * CHUNK
    assert len(text._rest) <= 10 * CHUNK


CONTENT = st.binary(max_size=30).map(lambda b: b.replace(b"\n", b" "))
LINES = st.lists(
    st.tuples(CONTENT, st.sampled_from([b"F", b"P"]), st.sampled_from([b"stdout", b"stderr"])), max_size=20
)


TRICKY = st.lists(st.sampled_from([b" stdout F ", b" stderr F ", STAMP, b"\0", b"x", b" "]), max_size=6)


@given(
    st.lists(
        st.one_of(
            st.builds(line, TRICKY.map(b"".join), stream=st.sampled_from([b"stdout", b"stdout", b"stderr"])),
            st.builds(line, TRICKY.map(b"".join), stamp=st.sampled_from([STAMP, b"2026-11-21T01:50:52Z"])),
            st.builds(line, TRICKY.map(b"".join), tag=st.just(b"P")),
            st.builds(line, st.just(STAMP + b" stdout F x"), tag=st.sampled_from([b"F", b"P"])),
            st.sampled_from([b"garbage\n", b"\n"]),
        ),
        max_size=12,
    )
)
def test_the_fast_way_gives_what_line_by_line_gives(lines: list[bytes]) -> None:
    slowly = LogText()
    expected = b"".join(slowly._line(one[:-1]) for one in lines)
    assert whole(b"".join(lines)) == expected


@given(LINES, st.integers(1, 50), st.booleans())
def test_pieces_of_any_size_give_the_same_text(
    lines: list[tuple[bytes, bytes, bytes]], size: int, timestamps: bool
) -> None:
    data = b"".join(line(text, tag, stream=stream) for text, tag, stream in lines)
    expected, new = b"", True
    for text, tag, _ in lines:
        expected += (STAMP + b" " if timestamps and new else b"") + text + (b"\n" if tag == b"F" else b"")
        new = tag == b"F"
    assert whole(data, size, timestamps=timestamps) == expected


@given(st.binary(max_size=300))
def test_any_bytes_are_taken(data: bytes) -> None:
    assert whole(data + b"\n").endswith(b"\n")


@given(st.lists(CONTENT, max_size=30), st.integers(0, 35), st.booleans())
def test_the_tail_begins_where_the_last_lines_begin(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], wanted: int, closed: bool
) -> None:
    data = b"\n".join(lines) + (b"\n" if closed and lines else b"")
    path = tmp_path_factory.mktemp("tail") / "log"
    path.write_bytes(data)
    with open(path, "rb", buffering=0) as file:
        tail = data[tail_offset(file, wanted) :]
    parts = data.split(b"\n")
    parts = parts[:-1] if data.endswith(b"\n") or not data else parts
    expected = b"\n".join(parts[-wanted:] if wanted else [])
    assert tail.rstrip(b"\n") == expected.rstrip(b"\n")


def test_the_tail_of_a_file_longer_than_a_chunk(tmp_path: Path) -> None:
    lines = [b"%06d" % n for n in range(200_000)]
    (tmp_path / "log").write_bytes(b"\n".join(lines) + b"\n")
    with open(tmp_path / "log", "rb", buffering=0) as file:
        file.seek(tail_offset(file, 100_000))
        assert file.read().split(b"\n")[:-1] == lines[-100_000:]


class Desk:
    """Logs of one pod, whose containers and files a test lays out."""

    def __init__(self, root: Path, *containers: ContainerSeen) -> None:
        clock = VirtualClock()
        self.layout = Layout(root / "root", root / "logs")
        pods = Pods(node.NODE)
        pods.put(msgspec.json.encode(node.pod()))
        self.observer = Observer(MemoryRuntime(clock), node.NODE)
        self.see(*containers)
        self.logs = Logs(self.layout, pods, self.observer, clock)

    def see(self, *containers: ContainerSeen) -> None:
        self.observer.pods["uid-web"] = PodSeen("uid-web", "default", "web", (), containers)

    def file(self, attempt: int = 0) -> Path:
        path = self.layout.log_file("default", "web", "uid-web", "main", attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    async def read(self, **options: Any) -> bytes:
        stream = await self.logs.logs(
            LogRequest("default", options.pop("pod", "web"), options.pop("container", "main"), **options)
        )
        return b"".join([data async for data in stream])


def instance(attempt: int = 0, state: ContainerState = ContainerState.RUNNING) -> ContainerSeen:
    return ContainerSeen(f"c{attempt}", "s", "main", attempt, state)


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ({"pod": "other"}, 404, 'pod "other" not found'),
        ({"container": "other"}, 404, 'container "other" not found in pod "web"'),
        ({"previous": True}, 400, 'previous terminated container "main" in pod "web" not found'),
        ({"tail_lines": -1}, 400, "tailLines"),
        ({"limit_bytes": 0}, 400, "limitBytes"),
        ({"since_seconds": 0}, 400, "sinceSeconds"),
        ({"since_time": "yesterday"}, 400, "RFC 3339"),
    ],
)
def test_wrong_questions(tmp_path: Path, options: dict[str, Any], code: int, text: str) -> None:
    desk = Desk(tmp_path, instance())
    desk.file().write_bytes(line(b"x"))
    with pytest.raises(ApiError, match=text) as caught:
        run(desk.read(**options))
    assert caught.value.code == code


def test_a_container_that_waits_has_no_log_yet(tmp_path: Path) -> None:
    desk = Desk(tmp_path, instance(state=ContainerState.CREATED))
    with pytest.raises(ApiError, match='container "main" in pod "web" is waiting to start: ContainerCreating'):
        run(desk.read())


def test_previous_limit_and_tail(tmp_path: Path) -> None:
    desk = Desk(tmp_path, instance(1), instance(0, ContainerState.EXITED))
    desk.file(0).write_bytes(line(b"old"))
    desk.file(1).write_bytes(line(b"one") + line(b"two") + line(b"three"))
    assert run(desk.read(previous=True)) == b"old\n"
    assert run(desk.read(limit_bytes=5)) == b"one\nt"
    assert run(desk.read(tail_lines=2)) == b"two\nthree\n"
    assert run(desk.read(tail_lines=0)) == b""


def append(path: Path, data: bytes) -> None:
    with open(path, "ab") as log:
        log.write(data)


def test_following_over_a_rotation_until_the_container_ends(tmp_path: Path) -> None:
    async def main() -> bytes:
        desk = Desk(tmp_path, instance())
        path = desk.file()
        path.write_bytes(line(b"one"))
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(desk.read(follow=True))
            await asyncio.sleep(1)
            append(path, line(b"two"))
            path.rename(path.with_suffix(".1"))
            path.write_bytes(line(b"three"))
            await asyncio.sleep(1)
            append(path, line(b"four"))
            desk.see(instance(state=ContainerState.EXITED))
        return reader.result()

    assert run(main()) == b"one\ntwo\nthree\nfour\n"


def test_a_link_planted_in_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    desk = Desk(tmp_path, instance())
    (tmp_path / "secret").write_text("hunter2")
    desk.file().symlink_to(tmp_path / "secret")
    with pytest.raises(ApiError, match="cannot be opened"):
        run(desk.read())
