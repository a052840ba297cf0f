"""`octoedge-mapper image`: what it refuses, before it makes anything; that what it makes works, e2e tests show."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from octoedge.commands.mapper import main
from octoedge.commands.mapperimage import config
from octoedge.testing.eventually import eventually

EXAMPLES = Path(__file__).parents[3] / "examples" / "devices"

MAPPER = "from octoedge.mappers import Mapper\nclass A(Mapper, protocol='virtual'): ...\n"


@pytest.mark.parametrize(
    ("content", "words", "why"),
    [
        ("", (), "it holds none"),
        (MAPPER, ("--name", "mine"), "'mine' is no name of an image with a tag, as octoedge.local/odd:2"),
        (MAPPER, ("--with", "telepathy"), "the package telepathy is not installed here; `pip install telepathy`"),
        (MAPPER + "def f():\n    import beside\n", (), "odd.py imports beside, which is no installed package"),
        (MAPPER, ("-o", "missing/x.tar"), "missing/x.tar cannot be made: "),
    ],
)
def test_what_will_not_do_is_said_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    content: str, words: tuple[str, ...], why: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("odd.py").write_text(content)
    Path("beside.py").write_text("")
    assert main(["image", "odd.py", *words]) == 1
    assert why in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"odd.py", "beside.py"}


def test_the_dockerfile_starts_it_in_the_same_way() -> None:
    lines = (EXAMPLES / "Dockerfile").read_text().splitlines()
    said = {word: json.loads(rest) for word, _, rest in (line.partition(" ") for line in lines) if rest.startswith("[")}
    made = config(EXAMPLES / "thermometer.py", "modbus")
    assert (made["Entrypoint"], made["Cmd"]) == (said["ENTRYPOINT"], said["CMD"])


def test_the_dockerfile_takes_what_is_there_and_not_everything() -> None:
    copies = [
        line.split()[1:] for line in (EXAMPLES / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")
    ]
    sources = [source for words in copies if not words[0].startswith("--from") for source in words[:-1]]
    assert "." not in sources
    assert [source for source in sources if not (EXAMPLES.parents[1] / source).exists()] == []


def test_one_that_is_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "octoedge.commands.mapper", "image", "virtual", "-o", "v.tar"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as making:
        try:
            eventually(lambda: making.poll() is not None or [*tmp_path.glob("*/*")], within=60)
        finally:
            making.terminate()
        assert making.wait(60) == 143
    assert [path.name for path in tmp_path.iterdir()] == []
