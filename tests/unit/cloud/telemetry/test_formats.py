from __future__ import annotations

import pytest

from octoedge.cloud.telemetry import formats
from octoedge.cloud.telemetry.formats import Value


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("temperature", "21.5", "temperature,namespace=default,device=th value=21.5 5"),
        ("temperature", "-3", "temperature,namespace=default,device=th value=-3.0 5"),
        ("heater", "true", "heater,namespace=default,device=th state=true 5"),
        ("note", 'say "hi" \\ there', r'note,namespace=default,device=th text="say \"hi\" \\ there" 5'),
        ("note", "", 'note,namespace=default,device=th text="" 5'),
        ("note", "nan", 'note,namespace=default,device=th text="nan" 5'),
        ("note", "1e999", 'note,namespace=default,device=th text="1e999" 5'),
        ("a b,c", "1", r"a\ b\,c,namespace=default,device=th value=1.0 5"),
        ("#5", "21", "\\#5,namespace=default,device=th value=21.0 5"),
    ],
)
def test_influxdb_reads_it(name: str, text: str, line: str) -> None:
    assert formats.influx([Value("default/th", name, 5, text)]) == line.encode()


def test_json_lines() -> None:
    values = [Value("default/th", "t", 5, "1"), Value("default/th", "t", 6, "ä")]
    assert formats.lines(values).decode() == (
        '{"device":"default/th","property":"t","time":5,"value":"1"}\n'
        '{"device":"default/th","property":"t","time":6,"value":"ä"}\n'
    )


def test_a_property_cannot_leave_its_place_in_a_topic() -> None:
    pattern = "octoedge/{namespace}/{device}/{property}"
    assert formats.topic(pattern, Value("default/th", "a/#+b", 5, "1")) == "octoedge/default/th/a___b"
