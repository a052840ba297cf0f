"""A broker is recognised by its answer, not by its port."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from octoedge.keadm import broker
from octoedge.keadm.layout import Layout


def one_answer(answer: bytes) -> bool:
    """Ask a server that takes one connection and answers so."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        received: list[bytes] = []

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                received.append(connection.recv(100))
                connection.sendall(answer)
                connection.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()
        found = broker.answers(server.getsockname()[1])
        thread.join(5)
    assert received == [broker.CONNECT]
    return found


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"\x20\x02\x00\x00", True),
        (b"\x20\x02\x00\x05", False),  # not authorized
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (b"", False),
    ],
)
def test_only_an_accepting_broker_counts(answer: bytes, expected: bool) -> None:
    assert one_answer(answer) is expected


def test_nobody_is_no_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not broker.answers(port)


def test_the_connect_packet_says_its_own_length() -> None:
    assert broker.CONNECT[1] == len(broker.CONNECT) - 2


def test_the_broker_listens_on_the_loopback_only() -> None:
    text = broker.config(Layout(Path("/h"), offset=100))
    assert [line for line in text.splitlines() if line.startswith("listener")] == ["listener 1983 127.0.0.1"]


def test_the_clients_of_the_installations_broker_are_those_of_its_log(tmp_path: Path) -> None:
    assert broker.clients(tmp_path / "missing.log") == []
    log = tmp_path / "mosquitto.log"
    came = "1763720000: New client connected from 127.0.0.1:1 as %s (p2, c1, k60).\n"
    log.write_text(came % "early" + "1763720001: Client early disconnected.\n" + came % "octoedge-edge-1")
    assert broker.clients(log) == ["octoedge-edge-1"]
