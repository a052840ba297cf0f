"""`octoedge-mapper`: what it makes and what it says when it cannot."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from octoedge.commands.mapper import main
from octoedge.mappers.framework.run import load, subclasses
from octoedge.mappers.kit import Rig


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
        ("raise SystemExit(3)\n", "cannot be loaded: SystemExit: 3"),
        (
            "from octoedge.mappers import Mapper\nclass A(Mapper, protocol='a'):\n    def __init__(self): 1 / 0\n",
            "cannot be used: A(): ZeroDivisionError",
        ),
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


def test_a_file_that_is_saved_twice_in_a_second_is_what_it_was_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "quick.py"
    for seconds in (1.0, 2.0):
        file.write_text(
            f"from octoedge.mappers import Mapper\nclass A(Mapper, protocol='a'):\n    read_seconds = {seconds}\n"
        )
        os.utime(file, (1_800_000_000, 1_800_000_000))
        assert load(str(file)).read_seconds == seconds


@pytest.mark.parametrize("name", ["none", "true", "link", "mapper", "rig", "point", "bench", "device", "class"])
def test_a_new_mapper_of_any_name_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", name]) == 0
    assert sorted(load(f"{name}.py").readers) == ["setpoint", "temperature"]
    assert [rig.protocol for rig in subclasses(tmp_path / f"{name}.py", Rig)] == [name]
    assert "return Link(" in (tmp_path / f"{name}.py").read_text()
    model, device = yaml.safe_load_all((tmp_path / f"{name}.yaml").read_text())
    assert (model["spec"]["protocol"], device["spec"]["protocol"]["protocolName"]) == (name, name)
    assert model["metadata"] == device["metadata"] == device["spec"]["deviceModelRef"] == {"name": name}


def test_a_new_mapper_that_cannot_be_written_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    (gone / "boiler.py").symlink_to(tmp_path / "nowhere" / "boiler.py")
    assert main(["new", "boiler"]) == 1
    assert "boiler.py" in capsys.readouterr().err


def test_a_new_mapper_takes_nobodys_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "boiler.yaml").write_text("mine")
    assert main(["new", "boiler"]) == 1
    assert "boiler.yaml is there already" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["boiler.yaml"]


@pytest.mark.parametrize("name", ["a/b", "..", "x" * 150, " "])
def test_a_name_that_can_name_no_socket_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    edgecore = str(tmp_path / "dmi.sock")
    assert main(["run", "virtual", "--http-port", "0", "--edgecore", edgecore, "--name", name]) == 1
    assert "the mapper's name" in capsys.readouterr().err


def test_a_port_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "virtual", "--http-port", "99999"])
    assert "is no port, 0 to 65535" in capsys.readouterr().err


def test_a_test_that_is_stopped_has_not_passed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "octoedge.commands.mapper", "test", "virtual", "--devices", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as test:
        assert test.stdout is not None
        assert test.stderr is not None
        assert test.stdout.readline().startswith("ok")
        test.terminate()
        assert test.wait(60) == 1
        assert "stopped before its end" in test.stderr.read()


@pytest.mark.parametrize("protocol", ["modbus", "http", "opcua"])
def test_a_simulated_device_whose_port_is_taken_is_not_said_to_be_there(
    protocol: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["simulate", protocol, "--port", str(port)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert f"127.0.0.1:{port}: Address already in use" in said.err
