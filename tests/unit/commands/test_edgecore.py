"""The command's own part: what it says and how it exits when its configuration is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from octoedge.version import VERSION


def edgecore(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "octoedge.commands.edgecore", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_wrong_key_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    file = tmp_path / "edgecore.yaml"
    file.write_text("modules: {edgeHub: {hartbeat: 15}}\n")
    done = edgecore("--config", str(file))
    assert done.returncode == 78
    assert done.stderr.startswith(f"edgecore: {file}: modules.edgeHub.hartbeat is not a known key")
    assert "'heartbeat'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_file_is_a_sentence() -> None:
    done = edgecore("--config", "/nowhere/edgecore.yaml")
    assert done.returncode == 78
    assert "/nowhere/edgecore.yaml cannot be read" in done.stderr


def test_an_unknown_flag_shows_how_it_is_used() -> None:
    done = edgecore("--what")
    assert done.returncode == 2
    assert "'--what' is not understood" in done.stderr


def test_version_help_and_configurations() -> None:
    assert edgecore("--version").stdout == f"edgecore {VERSION}\n"
    assert "--minconfig" in edgecore("--help").stdout
    for flag in ("--defaultconfig", "--minconfig"):
        assert "httpServer" in edgecore(flag).stdout


def test_arguments_are_read_without_the_agents_machinery() -> None:
    code = "import octoedge.commands.edgecore, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"asyncio", "ssl", "sqlite3", "yaml", "msgspec", "logging"} & set(loaded)
