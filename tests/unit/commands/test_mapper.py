"""`octoedge-mapper`: what it makes and what it says when it cannot."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from octoedge.commands.mapper import main
from octoedge.mappers.framework.run import load


def test_a_new_mapper_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "my-boiler"]) == 0
    made = load("my-boiler.py")
    assert (made.protocol, type(made).__name__, sorted(made.readers)) == (
        "my-boiler",
        "MyBoiler",
        ["setpoint", "temperature"],
    )
    assert main(["new", "my-boiler"]) == 1
    assert main(["new", "../x"]) == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "it holds none"),
        ("from octoedge.mappers import Mapper\nclass A(Mapper, protocol='a'): ...\nclass B(A): ...\n", "A, B"),
        ("import nothing_like_this\n", "cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_a_file_that_is_no_mapper_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, why: str
) -> None:
    file = tmp_path / "odd.py"
    file.write_text(content)
    assert main(["run", str(file)]) == 1
    assert why in capsys.readouterr().err


def test_a_protocol_that_nobody_offers_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "telepathy"]) == 1
    assert "neither a Python file nor an installed protocol" in capsys.readouterr().err


def test_a_mapper_may_have_more_connections_than_a_login_shell_allows(tmp_path: Path) -> None:
    limit, hard = 256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    file = tmp_path / "many.py"
    file.write_text("import resource\nraise ValueError(resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n")
    program = (
        f"import resource, sys\nresource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {min(hard, 4096)}))\n"
        f"from octoedge.commands.mapper import main\nsys.exit(main(['run', {str(file)!r}]))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert f"ValueError: {min(hard, 4096)}" in ended.stderr
