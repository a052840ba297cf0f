"""A folder of data has one owner."""

from __future__ import annotations

from pathlib import Path

import pytest

from octoedge.errors import StoreError
from octoedge.store.lock import Lock


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "data" / "lock"
    first, second = Lock(path), Lock(path)
    first.take()
    with pytest.raises(StoreError, match="in use by another process"):
        second.take()
    first.release()
    first.release()
    with second, pytest.raises(StoreError):
        first.take()
    with first:
        assert path.stat().st_mode & 0o077 == 0
