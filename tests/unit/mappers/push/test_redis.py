"""The member that a value is."""

from __future__ import annotations

from octoedge.mappers.push.redis import member
from octoedge.mappers.push.sending import Sample
from octoedge.mappers.push.settings import Redis


def test_a_member_is_what_go_writes() -> None:
    sample = Sample(Redis("r", 6379, 0), "plant", "boiler", "t", "float", 'a<b> & "c" °', 1_790_000_000_123)
    assert member(sample) == (
        '{"DeviceName":"boiler","PropertyName":"t","Namespace":"plant","Value":"a\\u003cb\\u003e \\u0026 \\"c\\" °",'
        '"Type":"float","TimeStamp":1790000000123}'
    )
