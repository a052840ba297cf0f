"""Who is connected, by mosquitto's log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from octoedge.transport.mqtt_clients import Clients

CAME = "New client connected from 127.0.0.1:37326 as probe-1 (p2, c1, k30, u'joe')."


def heard(*lines: str) -> list[str]:
    clients = Clients()
    for line in lines:
        clients.hear(line)
    return clients.names


def test_clients_come_and_go() -> None:
    other = "1763720000: New client connected from 127.0.0.1:1 as a name (p2, c1, k60)."
    assert heard(CAME, other) == ["a name", "probe-1 (joe)"]
    for words in (
        "disconnected.",
        "closed its connection.",
        "has exceeded timeout, disconnecting.",
        "disconnected, not authorised.",
        "disconnected: Protocol error.",
    ):
        assert heard(CAME, other, f"Client probe-1 {words}") == ["a name"]
        assert heard(CAME, other, f"1763720001: Client a name {words}") == ["probe-1 (joe)"]


def test_who_comes_a_second_time_is_there_once() -> None:
    assert heard(CAME, "Client probe-1 already connected, closing old connection.", CAME) == ["probe-1 (joe)"]


def test_a_broker_that_starts_has_no_clients() -> None:
    assert heard(CAME, "1763720000: mosquitto version 2.0.11 starting") == []


def test_names_that_look_like_the_log_hide_nobody() -> None:
    evil = CAME.replace("probe-1", "probe-1 disconnected.")
    assert heard(CAME, evil, "Client probe-1 disconnected. disconnected.") == ["probe-1 (joe)"]
    assert len(heard(*(CAME.replace("probe", f"{number}") for number in range(5000)))) == 256
    assert len(heard(CAME.replace("probe", "x" * 60_000))[0]) < 200


def test_other_lines_are_no_news_of_clients() -> None:
    clients = Clients()
    assert clients.hear(CAME)
    assert clients.hear("New connection from 127.0.0.1:37318 on port 12884.")
    assert not clients.hear("Error: Address already in use")
    assert not clients.hear("1763720000: Warning: Mosquitto should not be run as root/administrator.")


@given(st.lists(st.text(max_size=60) | st.text(max_size=20).map(lambda name: CAME.replace("probe-1", name))))
def test_any_line_does_no_harm(lines: list[str]) -> None:
    assert len(heard(*lines)) <= len(lines)
