"""WebSocket v5 channels and SPDY streams: each says what the other said."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.apiserver.nodes.translation import Command, Tunnelled
from octoedge.transport.spdy import Data, Event, Framer, Opened, Ping

STDIN, STDOUT, STDERR, OUTCOME, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


class Node:
    """The kubelet's end: knows the streams by their type."""

    def __init__(self, command: Command) -> None:
        self.framer = Framer()
        self.command = command
        opened = self.heard(command.begin())
        assert all(isinstance(event, Opened) for event in opened)
        self.streams = {e.headers["streamtype"]: e.stream for e in opened if isinstance(e, Opened)}

    def heard(self, data: bytes) -> list[Event]:
        return list(self.framer.feed(data))

    def hears(self, message: bytes) -> list[Event]:
        """What a client's message is to the node."""
        return self.heard(self.command.to_node(message))

    def says(self, kind: str, data: bytes, *, fin: bool = False) -> list[bytes]:
        """What the client is told."""
        messages, back = self.command.to_client(self.framer.data(self.streams[kind], data, fin=fin))
        assert back == b""
        return messages


def command(*, stdin: bool = True, stdout: bool = True, stderr: bool = True, tty: bool = False) -> Node:
    return Node(Command(stdin=stdin, stdout=stdout, stderr=stderr, tty=tty))


@pytest.mark.parametrize(
    ("node", "streams"),
    [
        (command(), ["error", "stdin", "stdout", "stderr"]),
        (command(tty=True), ["error", "stdin", "stdout", "resize"]),
        (command(stdin=False, stderr=False), ["error", "stdout"]),
    ],
)
def test_the_streams_that_were_asked_for_are_opened_the_outcome_first(node: Node, streams: list[str]) -> None:
    assert list(node.streams) == streams
    assert list(node.streams.values()) == [2 * at + 1 for at in range(len(streams))]


def test_input_goes_in_and_is_closed_once() -> None:
    node = command()
    stdin = node.streams["stdin"]
    assert node.hears(b"\0hello") == [Data(stdin, b"hello")]
    assert node.hears(bytes((CLOSE, STDIN))) == [Data(stdin, b"", fin=True)]
    assert node.hears(bytes((CLOSE, STDIN))) == []
    assert node.hears(b"\0too late") == []


def test_a_terminals_size_goes_in() -> None:
    node = command(tty=True)
    assert node.hears(b'\x04{"Width":80,"Height":24}') == [Data(node.streams["resize"], b'{"Width":80,"Height":24}')]


@given(st.binary(max_size=40))
def test_whatever_a_client_sends_only_input_and_sizes_reach_the_node(message: bytes) -> None:
    node = command(tty=True)
    allowed = {node.streams["stdin"], node.streams["resize"]}
    assert all(isinstance(event, Data) and event.stream in allowed for event in node.hears(message))


def test_output_comes_out_by_channel_and_the_outcome_as_it_is() -> None:
    node = command()
    assert node.says("stdout", bytes(range(256))) == [b"\x01" + bytes(range(256))]
    assert node.says("stderr", b"oops", fin=True) == [b"\x02oops"]
    assert node.says("stdout", b"", fin=True) == []
    assert not node.command.over
    assert node.says("error", b'{"status":"Success"}', fin=True) == [b'\x03{"status":"Success"}']
    assert node.command.over
    assert node.command.broken("too late to say") == []


def test_an_outcome_stream_that_is_reset_is_closed_too() -> None:
    node = command(stderr=False)
    node.says("stdout", b"", fin=True)
    node.says("error", b"{}")
    node.command.to_client(node.framer.rst_stream(node.streams["error"], 5))
    assert node.command.over


def test_all_has_been_said_with_the_outcome_though_its_stream_stays_open() -> None:
    node = command(stderr=False)
    assert node.says("error", b'{"status":"Success"}') == [b'\x03{"status":"Success"}']
    assert not node.command.over, "output may come yet"
    node.says("stdout", b"", fin=True)
    assert node.command.over
    node.command.to_client(node.framer.rst_stream(node.streams["error"], 5)[:8])
    assert node.command.over, "whatever comes of the rest"


def test_an_outcome_that_comes_in_pieces_is_waited_for() -> None:
    node = command(stderr=False)
    node.says("stdout", b"", fin=True)
    frame = node.framer.data(node.streams["error"], b'{"status":"Success"}')
    node.command.to_client(frame[:-4])
    assert not node.command.over
    node.command.to_client(frame[-4:])
    assert node.command.over


def test_a_connection_that_breaks_is_told_as_a_failure() -> None:
    (message,) = command().command.broken("the node may have gone away")
    assert message[0] == OUTCOME
    status = msgspec.json.decode(message[1:])
    assert (status["status"], status["message"]) == ("Failure", "the node may have gone away")


def test_a_sign_of_life_is_answered() -> None:
    node = command()
    messages, back = node.command.to_client(Framer.ping(2))
    assert messages == []
    assert node.heard(back) == [Ping(2)]


def test_a_port_forward_passes_as_it_is() -> None:
    tunnel = Tunnelled()
    assert (tunnel.begin(), tunnel.to_node(b"\x80\x03")) == (b"", b"\x80\x03")
    assert tunnel.to_client(b"\0\xff") == ([b"\0\xff"], b"")
    assert tunnel.broken("no way to say it") == []
