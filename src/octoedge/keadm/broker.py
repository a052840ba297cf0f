"""The MQTT broker beside the edge node: mosquitto on the loopback, or one that is there already."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from octoedge.keadm.layout import Layout
from octoedge.keadm.processes import Daemon, find_program
from octoedge.transport.mqtt_clients import Clients

CONNECT = bytes((0x10, 17, 0, 4)) + b"MQTT" + bytes((4, 2, 0, 5, 0, 5)) + b"probe"
"""MQTT 3.1.1 CONNECT: clean session, client id `probe`."""
CONNACK = 0x20
_LOG_END = 1 << 20
"""Bytes of the log that are looked at."""
DISCONNECT = b"\xe0\x00"


def daemon(layout: Layout) -> Daemon:
    """The broker of this installation."""
    command = (find_program("mosquitto") or "mosquitto", "-c", str(layout.edge / "mosquitto.conf"))
    return Daemon("mosquitto", command, layout.run, layout.logs)


def config(layout: Layout) -> str:
    """Reachable from this machine only; messages that clients wait for survive a restart."""
    data = layout.edge / "mosquitto"
    return (
        f"listener {layout.ports.mqtt} 127.0.0.1\n"
        "allow_anonymous true\n"
        "user root\n"
        "persistence true\n"
        f"persistence_location {data}/\n"
        "max_queued_messages 10000\n"
        "log_dest stderr\n"
    )


def clients(log: Path) -> list[str]:
    """Who is connected to this installation's broker, by the end of its log; empty where this user may not read it."""
    known = Clients()
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_END))
        for line in file.read(_LOG_END).decode(errors="replace").splitlines():
            known.hear(line)
    return known.names


def answers(port: int) -> bool:
    """Whether an MQTT broker on the loopback takes a connection without a password."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.settimeout(2)
            connection.sendall(CONNECT)
            answer = connection.recv(4)
            connection.sendall(DISCONNECT)
    except OSError:
        return False
    return len(answer) == 4 and answer[0] == CONNACK and answer[3] == 0
