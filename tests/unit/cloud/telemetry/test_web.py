from __future__ import annotations

import pytest

from octoedge.cloud.telemetry.web import retry_after

NOW = 1_790_000_000.0
"""Mon, 21 Sep 2026 14:13:20 GMT"""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("-7", 0.0),
        ("soon", 0.0),
        ("²", 0.0),
        ("9" * 5000, 900.0),
        ("Mon, 21 Sep 2026 14:14:20 GMT", 60.0),
        ("Mon, 21 Sep 2026 14:14:20", 60.0),
        ("Mon, 21 Sep 2026 14:12:20 GMT", 0.0),
        ("Mon, 21 Sep 2099 14:12:20 GMT", 900.0),
        ("Mon, 99 Sep 2026 14:12:20 GMT", 0.0),
    ],
)
def test_how_long_to_wait(text: str, seconds: float) -> None:
    assert retry_after(text, NOW) == seconds
