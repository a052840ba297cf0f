"""The ends of logs that the cloud keeps: files, their bounds, and what a reader gets of them."""

from __future__ import annotations

import asyncio
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.cloud.cloudstream.kept import KeptLogs, Limits, selected
from octoedge.errors import ApiError, MessageError
from octoedge.protocol.tunnel import LogEnd, decode_log_end, encode_log_end
from octoedge.runtime.clock import SystemClock

LINES = b"".join(f"2026-11-21T07:00:0{n}.5Z line {n}\n".encode() for n in range(5))
NOW = 1795244405.0
"""2026-11-21T07:00:05Z"""


def end(text: bytes, container: str = "app", uid: str = "u1", *, whole: bool = False) -> LogEnd:
    return LogEnd("shop", "cart", uid, container, whole, text)


def kept_logs(folder: Path, *, container: int = 100, total: int = 1000, days: float = 7) -> KeptLogs:
    return KeptLogs(folder / "kept", Limits(container, total, days), SystemClock())


async def take(logs: KeptLogs, *pieces: LogEnd, node: str = "edge-1") -> None:
    """Hand them over and see them written, however long the disk takes."""
    for piece in pieces:
        logs.take(node, piece)
    task = asyncio.create_task(logs.run())
    await logs.written()
    task.cancel()
    await asyncio.wait([task])


async def text_of(logs: KeptLogs, container: str = "app", uid: str = "u1", node: str = "edge-1") -> bytes | None:
    found = await logs.find(node, uid, container)
    return None if found is None else found.text


def test_pieces_follow_each_other_and_the_last_lines_stay(tmp_path: Path) -> None:
    async def main() -> None:
        logs = kept_logs(tmp_path)
        await take(logs, *(end(b"line %d\n" % n) for n in range(30)))
        text = await text_of(logs)
        assert text is not None
        assert text.endswith(b"line 28\nline 29\n")
        assert 90 < len(text) <= 100
        assert text.startswith(b"line ")
        assert (logs.count, logs.bytes, logs.taken) == (1, len(text), 30)
        await take(logs, end(b"anew\n", whole=True))
        assert await text_of(logs) == b"anew\n"
        file = next((tmp_path / "kept").glob("*/*"))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700

    asyncio.run(main())


def test_nodes_pods_and_containers_are_kept_apart_and_survive_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        logs = kept_logs(tmp_path)
        await take(logs, end(b"a\n"))
        await take(logs, end(b"b\n", "side"))
        await take(logs, end(b"c\n"), node="edge-2")
        again = kept_logs(tmp_path)
        assert await text_of(again) == b"a\n"
        assert await text_of(again, "side") == b"b\n"
        assert await text_of(again, node="edge-2") == b"c\n"
        assert await text_of(again, uid="u2") is None
        await take(again, end(b"more\n"))
        assert await text_of(again) == b"a\nmore\n"
        assert (again.count, again.bytes) == (3, 11)

    asyncio.run(main())


def test_when_there_is_no_room_the_quietest_go_first(tmp_path: Path) -> None:
    async def main() -> None:
        logs = kept_logs(tmp_path, total=250)
        for uid in ("u1", "u2"):
            await take(logs, end(b"x" * 98 + b"\n", uid=uid))
        await take(logs, end(b"y\n", uid="u1", whole=True))
        await take(logs, end(b"x" * 98 + b"\n", uid="u3"))
        await take(logs, end(b"x" * 98 + b"\n", uid="u4"))
        assert await text_of(logs, uid="u2") is None
        assert await text_of(logs, uid="u1") == b"y\n"
        assert logs.bytes <= 250
        assert not list((tmp_path / "kept").glob("*/*u2*"))

    asyncio.run(main())


def test_what_got_nothing_new_for_days_is_forgotten(tmp_path: Path) -> None:
    async def main() -> None:
        await take(kept_logs(tmp_path), end(b"old\n"), node="edge-9")
        later = kept_logs(tmp_path, days=0)
        await take(later, end(b"x\n"))
        assert await text_of(later, node="edge-9") is None
        assert not (tmp_path / "kept" / "edge-9").exists()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("node", "uid", "container"),
    [
        ("../x", "u1", "app"),
        ("edge-1", "../../u", "app"),
        ("edge-1", "u1", "a/b"),
        ("edge-1", "", "app"),
        ("", "u", "a"),
    ],
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, node: str, uid: str, container: str) -> None:
    async def main() -> None:
        logs = kept_logs(tmp_path)
        with pytest.raises(MessageError):
            logs.take(node, end(b"x\n", container, uid))
        with pytest.raises(MessageError):
            await logs.find(node, uid, container)

    asyncio.run(main())
    assert list(tmp_path.rglob("*")) == []


class SlowDisk(KeptLogs):
    """Writes one piece each time it is let."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "kept", Limits(10 << 20, 100 << 20, 7), SystemClock())
        self.may = threading.Semaphore(0)

    def _take(self, path: Path, piece: LogEnd) -> None:
        assert self.may.acquire(timeout=30)
        super()._take(path, piece)


def test_a_slow_disk_holds_nobody_up_and_the_log_says_what_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mebibyte = b"x" * ((1 << 20) - 1) + b"\n"

    async def main() -> None:
        logs = SlowDisk(tmp_path)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(logs.run())
            for _ in range(6):
                logs.take("edge-1", end(mebibyte))
            assert logs.left_out == 3, "of 4 MiB, each piece takes a little more than its text"
            for _ in range(3):
                logs.may.release()
            await logs.written()
            assert len(await text_of(logs) or b"") == 3 << 20
            logs.may.release()
            logs.take("edge-1", end(b"on\n"))
            await logs.written()
            text = await text_of(logs) or b""
            task.cancel()
        assert text[3 << 20 :].split(b"\n")[0].startswith(b"# 3145728 bytes of this log are missing here")
        assert text.endswith(b"\non\n")
        assert logs.taken == 4

    asyncio.run(main())
    assert len([record for record in caplog.records if "left out" in record.getMessage()]) == 1


def test_who_stops_while_a_piece_is_written_writes_it_once(tmp_path: Path) -> None:
    async def main() -> None:
        logs = SlowDisk(tmp_path)
        logs.take("edge-1", end(b"one\n"))
        logs.take("edge-1", end(b"two\n"))
        task = asyncio.create_task(logs.run())
        await asyncio.sleep(0)
        task.cancel()
        logs.may.release(2)
        await asyncio.wait([task])
        assert await text_of(logs) == b"one\ntwo\n"

    asyncio.run(main())


def test_a_folder_that_cannot_be_written_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        (tmp_path / "kept").write_text("in the way")
        logs = kept_logs(tmp_path)
        for _ in range(3):
            await take(logs, end(b"x\n"))
        assert await text_of(logs) is None
        assert logs.taken == 0

    asyncio.run(main())
    assert len([record for record in caplog.records if "nothing is kept" in record.getMessage()]) == 1


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({}, b"".join(b"line %d\n" % n for n in range(5))),
        ({"timestamps": "true"}, LINES),
        ({"tailLines": "2"}, b"line 3\nline 4\n"),
        ({"tailLines": "0"}, b""),
        ({"tailLines": "99"}, b"".join(b"line %d\n" % n for n in range(5))),
        ({"sinceSeconds": "2"}, b"line 3\nline 4\n"),
        ({"sinceTime": "2026-11-21T08:00:04+01:00"}, b"line 4\n"),
        ({"limitBytes": "8"}, b"line 0\nl"),
        ({"follow": "true", "tailLines": "1"}, b"line 4\n"),
    ],
)
def test_a_reader_gets_what_he_asks_for(query: dict[str, str], text: bytes) -> None:
    assert selected(LINES, query, NOW) == text


@pytest.mark.parametrize("query", [{"tailLines": "x"}, {"sinceTime": "now"}, {"limitBytes": "-1"}])
def test_what_cannot_be_read_is_said(query: dict[str, str]) -> None:
    with pytest.raises(ApiError) as refused:
        selected(LINES, query, NOW)
    assert refused.value.code == 400


@given(st.binary())
def test_any_bytes_are_a_log(text: bytes) -> None:
    assert len(selected(text, {"tailLines": "3"}, NOW)) <= len(text)


@given(st.binary(max_size=3000), st.booleans())
def test_the_end_of_a_log_survives_the_wire(text: bytes, whole: bool) -> None:
    sent = end(text, whole=whole)
    assert decode_log_end(encode_log_end(sent), 3000) == sent


@given(st.binary(max_size=300))
def test_garbage_is_told_and_a_bomb_is_not_unpacked(data: bytes) -> None:
    with pytest.raises(MessageError):
        decode_log_end(data, 1000)
    with pytest.raises(MessageError, match="longer than 1000 bytes"):
        decode_log_end(encode_log_end(end(bytes(10_000_000))), 1000)
