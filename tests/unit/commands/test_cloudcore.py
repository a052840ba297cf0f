"""The command's own part: what it says and how it exits when its configuration is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from octoedge.api.config.load import parse_cloudcore


def cloudcore(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "octoedge.commands.cloudcore", *arguments]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KUBERNETES_")}
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environment)


@pytest.mark.parametrize("flag", ["--defaultconfig", "--minconfig"])
def test_a_printed_configuration_can_be_read_again(flag: str) -> None:
    done = cloudcore(flag)
    assert done.returncode == 0
    assert parse_cloudcore(done.stdout.encode(), flag).modules.cloud_hub.enable


def test_the_version_is_printed() -> None:
    assert cloudcore("--version").stdout.startswith("cloudcore ")


@pytest.mark.parametrize(
    ("content", "code", "text"),
    [
        ("modules: {cloudHub: {nodeLimt: 5}}", 78, "'nodeLimit'"),
        ("{}", 78, "set kubeAPIConfig.kubeConfig to a file"),
        ("kubeAPIConfig: {kubeConfig: /nowhere}", 78, "/nowhere"),
    ],
)
def test_a_configuration_that_will_not_do_is_a_sentence(tmp_path: Path, content: str, code: int, text: str) -> None:
    file = tmp_path / "cloudcore.yaml"
    file.write_text(content)
    done = cloudcore(f"--config={file}")
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert done.stderr.startswith("cloudcore: ")
    assert text in done.stderr


def test_a_missing_file_is_a_sentence() -> None:
    done = cloudcore("--config", "/nowhere/cloudcore.yaml")
    assert done.returncode == 78
    assert "/nowhere/cloudcore.yaml cannot be read" in done.stderr


def test_an_unknown_flag_shows_how_it_is_used() -> None:
    done = cloudcore("--what")
    assert done.returncode == 2
    assert "usage: cloudcore" in done.stderr
