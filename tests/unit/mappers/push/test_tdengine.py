"""Statements for TDengine."""

from __future__ import annotations

from dataclasses import replace

from octoedge.mappers.push.sending import Sample
from octoedge.mappers.push.settings import TdEngine
from octoedge.mappers.push.tdengine import create, insert, sub_table

ONE = Sample(TdEngine("http://t:6041", "db"), "plant-a", "boiler.1", "temp-x", "float", "21.5", 1_790_000_000_045)


def test_a_device_is_a_super_table() -> None:
    assert create(ONE) == (
        "CREATE STABLE IF NOT EXISTS `plant_a/boiler_1` (ts TIMESTAMP, deviceid BINARY(64), propertyname BINARY(64), "
        "data BINARY(64), type BINARY(64)) TAGS (location BINARY(64))"
    )


def test_values_are_rows_of_a_sub_table_for_each_property() -> None:
    other = replace(ONE, value="it's \\ on", prop="temp_x", time=1_790_000_000_000)
    assert insert([ONE, other]) == (
        "INSERT INTO `plant_a/boiler_1/temp-x` USING `plant_a/boiler_1` TAGS ('temp-x') VALUES "
        "('2026-09-21T14:13:20.045Z', 'plant-a/boiler.1', 'temp-x', '21.5', 'float') "
        "`plant_a/boiler_1/temp_x` USING `plant_a/boiler_1` TAGS ('temp_x') VALUES "
        "('2026-09-21T14:13:20.000Z', 'plant-a/boiler.1', 'temp_x', 'it\\'s \\\\ on', 'float')"
    )


def test_no_name_ends_its_quotes() -> None:
    assert sub_table(replace(ONE, prop="a`b.c")) == "`plant_a/boiler_1/a_b_c`"
