"""Devices and twins in the store come back as they were, KubeEdge's own rows too."""

from __future__ import annotations

import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from octoedge.edge.devicetwin import records
from octoedge.edge.devicetwin.merge import Stored
from octoedge.edge.devicetwin.records import Device
from octoedge.edge.devicetwin.twin import Value, Version
from octoedge.edge.metamanager.schema import MIGRATIONS


def opened() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript("".join(MIGRATIONS))
    return connection


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=10)
VALUES = st.builds(Value, TEXT, st.none() | st.dictionaries(TEXT, TEXT | st.integers(0, 2**53), min_size=1, max_size=2))
VERSIONS = st.builds(Version, st.integers(0, 2**60), st.integers(0, 2**60))
STORED = st.builds(
    Stored, st.sampled_from(["string", "int"]), st.booleans(), st.none() | VALUES, st.none() | VALUES, VERSIONS,
    VERSIONS, st.text(st.characters(codec="utf-8"), max_size=10), st.booleans(),
)  # fmt: skip


@given(st.dictionaries(TEXT, STORED, max_size=4), st.dictionaries(TEXT, STORED, max_size=4))
def test_twins_come_back_as_they_were(first: dict[str, Stored], second: dict[str, Stored]) -> None:
    connection = opened()
    records.put_twins(connection, "ns/a", first)
    records.put_twins(connection, "ns/a", second)
    records.put_twins(connection, "ns/b", first)
    assert records.twins(connection, "ns/a") == {**first, **second}
    records.remove(connection, "ns/a")
    assert records.twins(connection, "ns/a") == {}
    assert records.twins(connection, "ns/b") == first


def test_a_device_keeps_its_state_when_its_description_changes() -> None:
    connection = opened()
    records.put_device(connection, Device("ns/a", "a", "old"))
    records.put_state(connection, "ns/a", "ok", "2026-01-31T08:15:00Z")
    records.put_device(connection, Device("ns/a", "a", "new"))
    assert records.device(connection, "ns/a") == Device("ns/a", "a", "new", "ok", "2026-01-31T08:15:00Z")
    assert records.devices(connection).keys() == {"ns/a"}
    assert records.device(connection, "ns/b") is None


def test_a_database_of_kubeedge_is_taken_over() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    without_index = MIGRATIONS[1].split("DELETE FROM", maxsplit=1)[0]
    connection.executescript(without_index)
    row = (
        "INSERT INTO device_twin (deviceid, name, expected, actual, expected_meta, actual_meta, expected_version, "
        "actual_version, optional, attr_type, metadata) VALUES ('ns/a', 't', '', ?, NULL, ?, '', ?, 1, 'int', '{}')"
    )
    for value in ("1", "2"):
        connection.execute(row, (value, '{"timestamp":1769847300000}', '{"cloud":0,"edge":3}'))
    connection.execute("INSERT INTO device (id, name) VALUES ('ns/a', 'a')")
    connection.executescript(MIGRATIONS[1])
    assert records.twins(connection, "ns/a") == {
        "t": Stored("int", True, None, Value("2", {"timestamp": 1769847300000}), Version(), Version(0, 3))
    }
    assert records.devices(connection) == {"ns/a": Device("ns/a", "a")}


def test_a_column_that_cannot_be_read_does_not_hide_the_twin() -> None:
    connection = opened()
    connection.execute(
        "INSERT INTO device_twin (deviceid, name, actual, actual_meta, actual_version, metadata) "
        "VALUES ('ns/a', 't', '7', 'oops', '[]', '\"x\"')"
    )
    assert records.twins(connection, "ns/a") == {"t": Stored(optional=False, actual=Value("7"))}
