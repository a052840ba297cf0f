"""The command for a person: help, unknown words, and errors that are sentences."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from octoedge.commands.octoedge import SUBCOMMANDS, WHOLE_LINE


def octoedge(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "octoedge.commands.octoedge", *arguments)
    environment = {"OCTOEDGE_HOME": str(home), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)


def test_help_lists_every_subcommand(tmp_path: Path) -> None:
    words = octoedge(tmp_path, "--help").stdout
    assert all(f"    {name}" in words for name in (*SUBCOMMANDS, *WHOLE_LINE))


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_has_help(tmp_path: Path, name: str) -> None:
    done = octoedge(tmp_path, name, "--help")
    assert done.returncode == 0, done.stderr
    assert f"usage: octoedge {name}" in done.stdout


def test_help_imports_nothing_heavy() -> None:
    program = "import sys; import octoedge.commands.octoedge as o; o.main([]); print(sorted(sys.modules))"
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, timeout=30)
    assert not {"asyncio", "yaml", "msgspec", "aiohttp"} & set(eval(done.stdout.splitlines()[-1]))


def test_preparing_needs_no_package(tmp_path: Path) -> None:
    """`make up` runs it on a bare Python: `-S` hides every installed package."""
    source = Path(__file__).parents[3] / "src"
    program = f"import sys; sys.path.insert(0, {str(source)!r}); import octoedge.commands.prepare"
    done = subprocess.run((sys.executable, "-I", "-S", "-c", program), capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_an_unknown_word_is_refused(tmp_path: Path) -> None:
    done = octoedge(tmp_path, "fly")
    assert done.returncode == 2
    assert "invalid choice: 'fly'" in done.stderr


def test_nothing_set_up_is_said(tmp_path: Path) -> None:
    assert "`octoedge up`" in octoedge(tmp_path, "kubeconfig").stderr
    assert octoedge(tmp_path, "status").returncode == 1
    assert json.loads(octoedge(tmp_path, "status", "-o", "json").stdout) == {"components": []}
    assert octoedge(tmp_path, "down").returncode == 0


def test_an_error_is_a_sentence_and_not_a_traceback(tmp_path: Path) -> None:
    done = octoedge(tmp_path, "up", "--port-offset", "99999")
    assert done.returncode == 1
    assert done.stderr.startswith("octoedge: port offset 99999 moves ports out of range")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [("status", "-o", "json"), ("status",)])
def test_whoever_stops_reading_gets_no_traceback(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = (sys.executable, "-m", "octoedge.commands.octoedge", *arguments)
    with os.fdopen(writing, "wb") as out:
        environment = {"OCTOEDGE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, timeout=30, env=environment)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.parametrize("arguments", [("import", "no.tar"), ("import", "no.tar", "--node", "barn")])
def test_an_image_needs_an_installation(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert "nothing is set up" in octoedge(tmp_path, "image", *arguments).stderr
