"""The clients that judge the API server are kept in the user's cache; what is missing is said with the way to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from octoedge.errors import InstallError
from octoedge.keadm import clients


def test_missing_python_clients_are_named_with_the_way_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert not clients.present()
    with pytest.raises(InstallError, match="has no Python clients; fetch them with `octoedge prepare --for test`"):
        clients.python()


def test_without_a_registry_the_preparation_says_what_it_could_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InstallError, match="could not"):
        clients.fetch(Path("/bin/false"))
    assert not clients.present()
