"""Every command block of the README runs, in the order of the page, in one shell; and its links lead somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .blocks import Block, blocks
from .shell import ROOT, run, surroundings

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
NOT_RUN = {
    "OCTOEDGE_HOME=~/second make up PORT_OFFSET=1000\n": "test_a_second_installation_lives_beside_the_first",
    "octoedge image import my-image.tar\n": "test_an_image_is_brought_onto_the_node",
    "octoedge node add edge-2 ": "tests/e2e/test_nodes.py",
    "octoedge device watch thermometer\n": "tests/e2e/test_sample.py",
    "keadm gettoken ": "tests/e2e/test_keadm.py",
    "make check   # lint": "`make test` runs it first",
}
"""Blocks without a note, and what shows them to be right instead."""
OFFSET = 12000


def of(page: str, how: str) -> list[Block]:
    return [block for block in blocks(ROOT / page) if block.how == how]


@pytest.fixture
def shell_environment() -> Iterator[dict[str, str]]:
    """A fresh shell's, with a home of its own and ports out of the way."""
    home = tempfile.mkdtemp(prefix="octoedge-docs-")
    yield surroundings(home, OFFSET)
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.e2e
@pytest.mark.timeout(300)
@pytest.mark.skipif(os.geteuid() != 0, reason="real containers need root")
def test_the_readme_runs_from_top_to_bottom(shell_environment: dict[str, str]) -> None:
    script = "".join(block.text for block in of("README.md", "e2e"))
    try:
        out = run(script, shell_environment)
    finally:
        subprocess.run(("make", "down", "PURGE=1"), cwd=ROOT, env=shell_environment, capture_output=True)
    for promised in ("Hello from the edge!", "edge-1", "pod/hello condition met", "serving /www", "removed the data"):
        assert promised in out
    assert not (Path(shell_environment["OCTOEDGE_HOME"]) / "settings.json").exists()


def test_blocks_that_need_nothing_run(shell_environment: dict[str, str]) -> None:
    for block in of("README.md", "anywhere"):
        assert run(block.text, shell_environment)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_block_that_is_not_run_is_shown_right_elsewhere(page: Path) -> None:
    for block in blocks(page):
        known = any(block.text.startswith(beginning) for beginning in NOT_RUN)
        assert block.how in ("e2e", "anywhere") or known, block.text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text())
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_the_examples_are_named_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert all(f"examples/{example.name}" in text for example in (ROOT / "examples").iterdir())
