"""The ends of logs, handed to a cloud that wants them."""

from __future__ import annotations

import asyncio

from octoedge.edge.edgestream.tails import BYTES_PER_SECOND, FIRST_SECONDS, MOST, Tails
from octoedge.edge.ports import LogKey, LogMark, LogNews
from octoedge.protocol.tunnel import Kind, LogEnd, decode, decode_log_end
from octoedge.testing.clock import run

KEY = LogKey("shop", "cart", "u1", "app")
OTHER = LogKey("shop", "cart", "u1", "side")


class Written:
    """Containers and what they have written; the mark's offset counts what was taken."""

    def __init__(self, **logs: bytes) -> None:
        self.logs = {LogKey("shop", "cart", "u1", name): text for name, text in logs.items()}
        self.most = 0

    def log_keys(self) -> list[LogKey]:
        return list(self.logs)

    def log_news(self, key: LogKey, since: LogMark | None, most: int) -> LogNews | None:
        self.most = most
        text = self.logs[key]
        begin = since.offset if since else 0
        if begin == len(text):
            return None
        return LogNews(text[begin:][-most:], since is None, LogMark(0, 1, len(text)))


def handed_over(written: Written, seconds: float, most: int = 1000, pause: float = 30) -> list[tuple[float, LogEnd]]:
    """(when, what) within so many seconds of virtual time."""
    sent: list[tuple[float, LogEnd]] = []

    async def send(message: bytes) -> None:
        frame = decode(message)
        assert (frame.stream, frame.kind) == (0, Kind.LOG_END)
        sent.append((asyncio.get_running_loop().time(), decode_log_end(frame.data, MOST)))

    async def main() -> None:
        tails = Tails(written, pause, most)
        try:
            async with asyncio.timeout(seconds):
                await tails.run(send)
        except TimeoutError:
            assert tails.bytes == sum(len(end.text) for _, end in sent)

    run(main())
    return sent


def test_every_log_is_handed_over_once_and_then_only_what_is_new() -> None:
    written = Written(app=b"one\n", side=b"1\n")
    sent = handed_over(written, 1000)
    assert [end for _, end in sent] == [
        LogEnd("shop", "cart", "u1", "app", True, b"one\n"),
        LogEnd("shop", "cart", "u1", "side", True, b"1\n"),
    ]
    assert sent[0][0] == FIRST_SECONDS


def test_much_is_handed_over_slowly() -> None:
    written = Written(app=bytes(BYTES_PER_SECOND), side=b"1\n")
    (first, _), (second, _) = handed_over(written, 60, most=MOST)
    assert second - first == 1


def test_the_cloud_cannot_ask_for_more_than_there_is_room_for() -> None:
    written = Written(app=b"one\n")
    handed_over(written, 60, most=10**9)
    assert written.most == MOST
