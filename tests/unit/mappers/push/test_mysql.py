"""The name of a property's table."""

from __future__ import annotations

from octoedge.mappers.push.mysql import table
from octoedge.mappers.push.sending import Sample
from octoedge.mappers.push.settings import MySql


def test_no_name_ends_its_quotes_or_takes_an_argument() -> None:
    one = Sample(MySql("q", 3306, "d", "u"), "plant", "boiler", "50%`x", "float", "1", 0)
    assert table(one) == "`plant/boiler/50%%``x`"
