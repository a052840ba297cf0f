"""The interface that MetaServer's address for pods is on."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from octoedge.runtime import dummy

NAME = f"octod{os.getpid() % 100000}"
HOST = "169.254.31.77"


@pytest.fixture
def name() -> Iterator[str]:
    yield NAME
    dummy.remove(NAME)


@pytest.mark.skipif(os.geteuid() != 0, reason="makes an interface")
def test_it_is_made_once_answers_and_goes_again(name: str) -> None:
    dummy.ensure(HOST, name)
    dummy.ensure(HOST, name)
    with socket.create_server((HOST, 0)) as server, socket.create_connection(server.getsockname(), timeout=5) as client:
        assert client.getpeername()[0] == HOST
    dummy.remove(name)
    assert not Path(f"/sys/class/net/{name}").exists()
    dummy.remove(name)


def test_a_name_that_cannot_be_is_an_error() -> None:
    with pytest.raises(OSError, match=r"."):
        dummy.ensure(HOST, "no/such")


@pytest.mark.parametrize(("host", "own"), [("169.254.30.10", True), ("127.0.0.1", False), ("10.88.77.1", False)])
def test_link_local_addresses_need_one(host: str, own: bool) -> None:
    assert dummy.is_link_local(host) is own
