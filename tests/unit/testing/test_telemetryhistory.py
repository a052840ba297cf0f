"""Histories of telemetry, each a seed: `octoedge.testing.telemetryhistory` says what happens and what must hold.

`tools/soak.py --telemetry --minutes 60` runs on from a random seed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from octoedge.testing.telemetryhistory import play

SEEDS = 80
TOGETHER = 10


@pytest.mark.parametrize("first", range(0, SEEDS, TOGETHER))
def test_every_value_is_stored_once_or_named_in_a_gap(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + TOGETHER):
        play(seed, tmp_path / str(seed))


def test_a_seed_is_one_history(tmp_path: Path) -> None:
    assert play(7, tmp_path / "a") == play(7, tmp_path / "b")
