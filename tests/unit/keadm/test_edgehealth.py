"""What EdgeCore says of its brokers, devices and mappers, in the words of `octoedge status`."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from octoedge.errors import InstallError
from octoedge.keadm.edgehealth import about_devices, about_names, ask

WELL = {
    "broker": "tcp://127.0.0.1:1883",
    "side": "external",
    "connected": True,
    "trouble": "",
    "clients": "3",
    "dropped": 0,
}


def test_clients_are_named_as_many_as_a_line_holds() -> None:
    own = {**WELL, "side": "internal", "names": ["a", "b (joe)"]}
    assert about_devices({"brokers": [own]}) == "MQTT tcp://127.0.0.1:1883 connected, 3 clients (a, b (joe))"
    many = {**own, "names": [f"c{number}" for number in range(10)]}
    assert about_devices({"brokers": [many]}).endswith("(c0, c1, c2, c3, c4, c5, c6, c7 and 2 more)")


def test_a_node_with_a_broker_devices_and_mappers() -> None:
    devices = {"devices": 2, "mappers": {"modbus": "thermo"}, "troubles": {}}
    assert about_devices({"brokers": [WELL], "devices": devices}) == (
        "MQTT tcp://127.0.0.1:1883 connected, 3 clients; 2 devices, mappers: modbus (thermo)"
    )


def test_a_mapper_that_has_ended_is_not_said_to_be_there() -> None:
    devices = {"devices": 0, "mappers": {"modbus": "thermo", "http": "meter"}, "gone": ["modbus"], "troubles": {}}
    assert about_devices({"devices": devices}) == "0 devices, mappers: http (meter), modbus (thermo, not running)"


def test_what_is_wrong_is_said() -> None:
    away = {**WELL, "connected": False, "trouble": "connection refused", "clients": ""}
    devices = {"devices": 2, "mappers": {}, "troubles": {"ns/b": "its mapper is gone", "ns/a": "its model is not here"}}
    assert about_devices({"brokers": [away, {**WELL, "dropped": 4}], "devices": devices}) == (
        "MQTT tcp://127.0.0.1:1883 not connected: connection refused; "
        "MQTT tcp://127.0.0.1:1883 connected, 3 clients, 4 messages dropped; 2 devices, no mapper; "
        "ns/a: its model is not here, and 1 more"
    )


def test_a_node_without_devices_says_nothing_of_them() -> None:
    assert about_devices({}) == ""
    assert about_devices({"brokers": [], "devices": {"devices": 0, "mappers": {}, "troubles": {}}}) == ""


def test_who_does_not_answer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "edgecore.sock"
    with pytest.raises(InstallError, match=r"edgecore\.sock"):
        ask(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()

        def answer() -> None:
            for text in (json.dumps({"node": "edge-1"}), "no json"):
                connection, _ = server.accept()
                connection.sendall(text.encode())
                connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        assert ask(path) == {"node": "edge-1"}
        with pytest.raises(InstallError, match="does not answer"):
            ask(path)
        thread.join()


def test_names_on_off_old_and_in_trouble() -> None:
    well = {"listen": ["169.254.30.10:53"], "services": 3, "known": True, "age": 0, "trouble": ""}
    assert about_names({"names": well}) == "names on 169.254.30.10:53: 3 Services"
    assert about_names({"names": {**well, "age": 7300}}) == "names on 169.254.30.10:53: 3 Services, as of 2 h ago"
    assert about_names({"names": {**well, "age": 90}}).endswith("as of 90 s ago")
    never = {**well, "services": 0, "known": False, "age": None}
    assert about_names({"names": never}).endswith("0 Services, nothing heard from the cloud yet")
    assert about_names({"names": {**well, "trouble": "cannot listen"}}) == "cannot listen"
    assert about_names({"names": None}) == "names (EdgeDNS) off"
    assert about_names({}) == "", "an EdgeCore of before"
